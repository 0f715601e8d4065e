"""Notebook 08: how much of a persona is in a model's answers, by many measures with baselines and upper bounds. It reads predictions, questionnaires and
scores of a run; only notebook 08 calls it.
"""
