"""Linewatch on the device: one trigger in, exactly one verdict out."""

import os

# OpenCV reads this limit once, when it is first imported: a small file that claims to be a huge image
# must not be decoded. 64 megapixels is twice the largest area-scan sensor in common use.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(64 * 1024 * 1024))

__version__ = "0.1.0"
