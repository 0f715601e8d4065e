"""What executes the notebooks, skips what has not changed, publishes a run, opens its executed copies and checks the machine. It reads notebooks, manifests
and run folders and knows no method; only the command line calls it.
"""
