"""From a persona card and a question to the tokens that a model reads. Builds the messages, fills the model's chat template, marks which tokens are learnt,
and keeps control text out of every prompt. It reads nothing but its arguments and needs no other room; every room that talks to a model calls it.
"""
