"""The things that every room needs: types, atomic files, worker threads, command lines with one-line errors."""
