"""A page on which anyone can talk to a simulated respondent: ask, compare two personas or two systems, see the tokens, ask people of one's own.
It reads the data set and adapters of a run and, through `intake`, users' questionnaires and people; it asks them as `ask` does. Notebook 00 and the command
`probe` call it.
"""
