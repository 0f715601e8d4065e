"""QLoRA by the paper's recipe: jobs, trainer, loss on the answers, checkpoints that survive a crash, adapter cards, and the making of the nano twins. It
reads the data set and the models and writes adapters and run records; notebook 03 and the ablations call it.
"""
