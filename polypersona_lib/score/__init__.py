"""The command `score`: anyone's file of predictions gets every metric that it allows, says what is wrong with the answers, and is compared with other files.
It reads through `intake`, computes with `scoring` and `survey`, and only the command line calls it.
"""
