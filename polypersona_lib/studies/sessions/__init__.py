"""The same people asked again: other words, other orders, other cards."""
