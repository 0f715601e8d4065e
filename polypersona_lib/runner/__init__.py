"""The runner: executes notebooks, skips what has not changed, publishes, checks the machine."""
