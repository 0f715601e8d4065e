"""The drift monitor: does a model still answer as it did when a baseline was written? It asks whoever answers a fixed set of probes (`models/answerers.py`) and
reads and writes baseline files; the command `drift` and notebook 13 call it.
"""
