"""The embedded world: questions, phrases, personas and simulated respondents whose true attitudes are known, the data set built from them, the controls, and
the numbers that the paper prints. It reads `data/` and imports only `prompts`; every room above may call it.
"""
