"""What becomes of the backbone before anything is built on it: it learns from views, or a small student takes over."""
