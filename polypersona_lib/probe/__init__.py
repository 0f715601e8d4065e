"""A page on which anyone can talk to a simulated respondent: ask, compare two personas or two systems, see the tokens. It reads the data set and adapters of
a run; notebook 00 and the command `probe` call it.
"""
