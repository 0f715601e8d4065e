"""Notebooks 12 and 13: what generated persona cards do to opinion, measured against real people, and what helps against it. It reads `people/` and asks
whoever answers (`models/answerers.py`: a model, a server, a table of known bias); only notebooks 12 and 13 call it.
"""
