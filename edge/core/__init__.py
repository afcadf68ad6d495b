"""What every room needs: the types, atomic files, worker threads and one-line argument errors."""
