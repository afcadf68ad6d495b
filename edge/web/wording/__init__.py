"""What the page says: verdicts and faults in words, in the language and in the times of whoever reads."""
