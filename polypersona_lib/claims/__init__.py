"""The ledger of every claim the paper prints, with a verdict and its reason."""
