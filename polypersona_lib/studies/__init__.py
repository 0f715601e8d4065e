"""Studies on top of a run; each has a room of its own."""
