"""Who sends a request, over which connection, what they may do, and the record of what they did."""
