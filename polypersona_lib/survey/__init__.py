"""Questionnaires as arrays of people, items and options, and what they say: distributions, subgroups, reliability, diversity. It takes frames and arrays and
opens no file; notebook 10, `score` and the studies call it.
"""
