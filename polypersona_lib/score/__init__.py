"""The `score` command: anyone's predictions, every metric they allow, and what is wrong with them."""
