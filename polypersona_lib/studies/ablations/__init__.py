"""Notebook 07: what LoRA and 4 bits cost and keep, by training one twin in many settings. It reads the data set and writes one file an arm; only notebook 07
calls it.
"""
