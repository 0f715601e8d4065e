"""Real people: what respondents of human surveys said, how states voted, how a population is made up, each as a `survey.sheet.Sheet` with weights and missing
answers counted, so that every measure of simulated people runs on them. It reads `data/humans/` and `statsmodels`' own data; notebooks and studies call it.
"""
