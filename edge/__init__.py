"""Linewatch on the device: one trigger in, exactly one verdict out."""

import os
import sys

# OpenCV reads this limit once, when it is first imported: a small file that claims to be a huge image
# must not be decoded. 64 megapixels is twice the largest area-scan sensor in common use.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(64 * 1024 * 1024))

# A station talks to nobody it was not told to talk to: both runtimes would report their use over the network and leave
# files in the home folder. Each has one switch, read when it is first imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # openvino then takes its own silent stand-in

__version__ = "0.1.0"
