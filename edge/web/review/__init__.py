"""What people do with judged parts: compare them with a good one, answer what they really were, move the limit."""
