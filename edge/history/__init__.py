"""The history of every part: its row, its id and its pictures."""
