"""A page on which anyone can talk to a simulated respondent: ask, compare two personas or two systems, see the tokens, put an own questionnaire to own people.
It reads the data set and adapters of a run and, through `intake`, users' files; it asks them as `ask` does. Notebook 00 and the command `probe` call it.
"""
