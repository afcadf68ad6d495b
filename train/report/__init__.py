"""The report of a training run as one HTML page."""
