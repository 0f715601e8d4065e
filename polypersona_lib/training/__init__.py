"""QLoRA by the paper's recipe: batches, trainer, checkpoints, adapter cards, and the nano twins' bases."""
