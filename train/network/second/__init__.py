"""A second opinion beside the memory bank: another scale, or what good parts show at each place."""
