"""Questionnaires as arrays of people, items and options: distributions, subgroups, reliability, diversity."""
