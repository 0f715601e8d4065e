"""Faults: a small run is killed, stopped, starved and damaged; a table says what a user sees, what is lost, and whether the next run ends with the same bytes.

`python -m tests.faults` prints the table at small size, `--full` takes the whole smoke profile and 30 kills; `tests/test_faults.py` asserts every row.
"""
