"""A blind rating of answers by people: the plan, the panel, the files of judgements, and what they say. It reads predictions and scores of a run; only
notebook 09 calls it.
"""
