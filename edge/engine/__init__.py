"""One trigger becomes exactly one verdict, for as long as the engine runs."""
