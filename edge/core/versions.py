"""Versions of Linewatch and of what it runs on, for whoever is asked why a station does not work."""

from __future__ import annotations

import platform
from importlib.metadata import version

from edge import __version__

PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "numpy", "flask", "waitress")


def program_versions() -> dict[str, str]:
    """Return the version of each program by its name."""
    found = {"linewatch": __version__, "Python": platform.python_version(), "system": platform.platform()}
    return found | {name: version(name) for name in PACKAGES}
