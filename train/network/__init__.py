"""The network: backbone, memory bank, heads, their fusion, and how the heads are trained."""
