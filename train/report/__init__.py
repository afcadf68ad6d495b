"""What a run and a bundle can do, as one HTML page each."""
