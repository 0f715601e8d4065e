"""From answers to numbers: text metrics, stances, the swap control, diagnosis, whole-set scores."""
