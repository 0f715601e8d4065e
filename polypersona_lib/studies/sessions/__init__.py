"""Notebook 11: the same people asked again, in other words, orders and with other cards. It reads the adapters and questionnaires of a nano run, asks the
models again and keeps their answers; only notebook 11 calls it.
"""
