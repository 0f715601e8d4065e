"""What users bring: files become records, personas or predictions, or an error that names file, line and field."""
