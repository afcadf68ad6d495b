"""The way of a bundle to a station: who signed it, which version may judge, and the one file that carries it."""
