"""A page on which anyone can talk to a simulated respondent."""
