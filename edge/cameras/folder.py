"""A folder of images that behaves like a camera: parts pass by, frames come at a steady rate."""

from __future__ import annotations

import time
from pathlib import Path

from edge.cameras import CameraError, Shot
from edge.config.cameras import FolderCameraConfig
from edge.core.types import Image
from edge.inference.preprocess import ImageError, image_files, load_image

KEPT_BYTES = 256 * 1024 * 1024  # decoded images held in memory; what does not fit is decoded when it comes into view


class FolderCamera:
    """fps frames a second; each image stays in view seconds_per_image, then the next, for ever."""

    def __init__(self, config: FolderCameraConfig) -> None:
        self._config = config
        self._files: list[Path] = []
        self._kept: dict[Path, Image] = {}
        self._view: tuple[Path, Image] | None = None
        self._started = 0.0
        self._frames = 0

    def open(self) -> None:
        """Decode every image once, so that a bad file is found now and not in the middle of a shift."""
        self.close()
        self._files = self._list()
        kept_bytes = 0
        for file in self._files:
            image = _load(file)
            kept_bytes += image.nbytes
            if kept_bytes <= KEPT_BYTES:
                self._kept[file] = image
        self._started = time.monotonic()

    def _list(self) -> list[Path]:
        folder = self._config.path
        try:
            files = image_files(folder)
        except OSError as error:
            raise CameraError(f"camera folder {folder}: {error.strerror}; check camera.path") from error
        if not files:
            raise CameraError(f"camera folder {folder}: no image in it; put PNG or JPEG files there")
        return files

    def read(self) -> Shot:
        """Sleep until the next frame is due; a slow reader misses frames, as with a real camera."""
        if not self._files:
            raise CameraError(f"camera folder {self._config.path}: not open")
        elapsed = time.monotonic() - self._started
        self._frames = max(self._frames + 1, int(elapsed * self._config.fps))
        due = self._frames / self._config.fps
        time.sleep(max(0.0, due - elapsed))
        image = self._in_view(self._files[int(due / self._config.seconds_per_image) % len(self._files)])
        return Shot(image, self._started + due)

    def _in_view(self, file: Path) -> Image:
        if not file.exists():
            raise CameraError(f"camera folder {self._config.path}: {file.name} is gone; put the folder back")
        if self._view is None or self._view[0] != file:
            self._view = (file, self._kept[file] if file in self._kept else _load(file))
        return self._view[1]

    def close(self) -> None:
        self._files = []
        self._kept = {}
        self._view = None
        self._frames = 0

    def describe(self) -> str:
        return f"folder {self._config.path}"


def _load(file: Path) -> Image:
    try:
        image = load_image(file)
    except ImageError as error:
        raise CameraError(f"camera folder: {error}") from error
    image.flags.writeable = False  # the same array is handed out many times
    return image
