"""Property-based fuzzing of every reader: whatever a file or a server holds, the outcome is a value or one clear line an error.

`python -m tests.fuzz --cases 100000` is a night's run; `tests/test_fuzz.py` runs the same generators on a thousand cases.
"""
