"""Photos on disk become samples, roles and batches."""
