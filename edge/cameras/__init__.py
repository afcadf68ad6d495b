"""The Camera port: where frames come from. One module per kind of camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge.config.cameras import CameraConfig, FolderCameraConfig, GenicamCameraConfig
from edge.core.types import EdgeError, Image


class CameraError(EdgeError):
    """The camera gives no frame now; opening it again may help."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame as a camera gave it, with what is proven about its time."""

    image: Image  # (H, W, 3) uint8 BGR, not to be written to
    exposed_after: float | None  # monotonic s: the exposure began at or after this; None: nothing is proven
    fault: str = ""  # why it must not be judged (torn, concealed, another size); empty when it may be


class Camera(Protocol):
    """One source of frames, used by one thread."""

    def open(self) -> None:
        """Start, with a new handle each time; raises CameraError."""

    def read(self) -> Shot:
        """Wait for the next frame; raises CameraError."""

    def close(self) -> None:
        """Let go of the device; harmless when it is not open."""

    def describe(self) -> str:
        """One line for a person, without passwords."""


def repeats_mean_frozen(config: CameraConfig) -> bool:
    """Say whether byte-identical frames in a row mean a fault.

    A real sensor has noise; a folder holds each image in view, and a video file may stand still.
    """
    if isinstance(config, FolderCameraConfig):
        return False
    if isinstance(config, GenicamCameraConfig):
        return True
    return config.is_device or "://" in config.source


def make_camera(config: CameraConfig) -> Camera:
    """The camera of a [camera] section; nothing is opened yet."""
    from edge.cameras.folder import FolderCamera
    from edge.cameras.genicam import GenicamCamera
    from edge.cameras.network.decoded import DecodedCamera
    from edge.cameras.network.mjpeg import HttpCamera
    from edge.cameras.video import VideoCamera

    if isinstance(config, FolderCameraConfig):
        return FolderCamera(config)
    if isinstance(config, GenicamCameraConfig):
        return GenicamCamera(config)
    if config.is_device:
        return VideoCamera(config)
    if config.source.lower().startswith(("http://", "https://")):
        return HttpCamera(config, otherwise=DecodedCamera(config))
    return DecodedCamera(config)
