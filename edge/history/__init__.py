"""What is kept of every part: rows, ids and pictures."""
