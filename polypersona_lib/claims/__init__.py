"""The ledger of every number and statement that the paper prints, each with a verdict and its reason. It reads `data/paper_claims.csv` and the scores of a
run; notebook 90, the report and the command `claims` call it.
"""
