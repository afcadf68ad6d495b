"""What is measured of the shipped file: scores, pixels, thresholds and their intervals."""
