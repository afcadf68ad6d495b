"""Cameras on a network: their addresses, connections and streams."""
