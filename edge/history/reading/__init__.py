"""Narrow readings of the history: spans of time as spans of ids, scores of parts, and sums of parts."""
