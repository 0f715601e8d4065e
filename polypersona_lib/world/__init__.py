"""The embedded world: questions, phrases, personas, respondents, the data set built from them, controls, and the paper's own numbers."""
