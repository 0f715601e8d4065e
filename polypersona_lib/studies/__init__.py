"""Studies on top of a run, each in a room of its own. They read what a run wrote and may import all rooms below them, never each other; only their notebooks
call them.
"""
