"""The tables and the page that readers see. It reads nothing but the files of a run, so that a number is the same wherever it is printed; notebooks 04 to 06
and 90 call it.
"""
