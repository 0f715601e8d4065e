"""A report on the instrument, not on the model: what a questionnaire's answers say of its items, scales and wording, and what a simulation adds to real people.
It reads items, people and answers in the shapes of `intake.survey_format`; the `pilot` command and notebook 14 call it.
"""
