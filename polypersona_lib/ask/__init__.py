"""The command `ask`: a questionnaire is put to people by any model, one item at a time or as one conversation, and the answers become a folder for pandas, R,
SPSS, `score` and `pilot`. It reads through `intake`, asks through `models`, and the command line, `pilot` and the probe may call it.
"""
