"""The float network becomes the INT8 file that ships."""
