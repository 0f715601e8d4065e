"""What LoRA and 4 bits cost and keep."""
