"""From bytes to the tensor the model sees: the one path that training and inspection both call."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from edge.core.types import EdgeError, Image

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 64 * 1024 * 1024  # as edge tells OpenCV
JPEG_START = b"\xff\xd8"


class ImageError(EdgeError):
    """An image that cannot be read or does not fit the bundle."""


class Crop(BaseModel):
    """The inspected rectangle in frame pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: PositiveInt
    height: PositiveInt


class InputSpec(BaseModel):
    """The way from a frame to the model's input; it travels in the bundle, so that both sides agree."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    crop: Crop | None = None
    width: PositiveInt
    height: PositiveInt
    colour: Literal["RGB"] = "RGB"
    interpolation: Literal["area", "linear"] = "area"  # how it is shrunk; enlarging is bilinear either way


def decode_image(data: bytes, name: str = "image") -> Image:
    """Decode an encoded image to (H, W, 3) uint8 BGR; grey becomes three equal channels, alpha is dropped.

    Raises ImageError when the bytes are empty, too many, not an image, a JPEG that is not whole, or more than
    64 megapixels.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes); take or export the image again")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{name}: {len(data)} bytes is over the limit of {MAX_FILE_BYTES}; save it smaller")
    if data.startswith(JPEG_START):
        _refuse_torn(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{name}: the image is refused ({error.err}); at most 64 megapixels are read") from error
    if image is None:
        raise ImageError(f"{name}: not a readable image; use PNG, JPEG, BMP, TIFF or WebP")
    return np.asarray(image, dtype=np.uint8)


def _refuse_torn(jpeg: bytes, name: str) -> None:
    """Raise ImageError when libjpeg has to guess a part of the picture: OpenCV would fill it in silence."""
    try:
        height, width = simplejpeg.decode_jpeg_header(jpeg, strict=True)[:2]
        if height * width > MAX_PIXELS:
            raise ImageError(f"{name}: {width}x{height} pixels; at most 64 megapixels are read")
        simplejpeg.decode_jpeg(jpeg, "GRAY", fastdct=True, strict=True)
    except ValueError as error:
        raise ImageError(f"{name}: the JPEG is damaged ({error}); take or export the image again") from error


def load_image(path: Path) -> Image:
    """Read an image file to (H, W, 3) uint8 BGR; raises ImageError naming the file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_image(data, str(path))


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def inspected_box(shape: tuple[int, ...], spec: InputSpec) -> tuple[int, int, int, int]:
    """The inspected rectangle (x, y, width, height) of a frame of this shape, in frame pixels.

    Raises ImageError when the bundle's crop lies outside the frame.
    """
    height, width = shape[:2]
    crop = spec.crop
    if crop is None:
        return 0, 0, width, height
    if crop.x + crop.width > width or crop.y + crop.height > height:
        raise ImageError(
            f"the frame is {width}x{height}, but the bundle inspects {crop.width}x{crop.height} "
            f"at ({crop.x}, {crop.y}); set the camera to the resolution it was trained with"
        )
    return crop.x, crop.y, crop.width, crop.height


def prepare(image: Image, spec: InputSpec) -> Image:
    """Crop, resize and reorder (H, W, 3) uint8 BGR into the model's input (1, height, width, 3) uint8 RGB.

    Pixel values are never rescaled here: normalisation is part of the model's graph. Shrinking averages
    over areas (no aliasing) unless the bundle says "linear", which takes a fifth of the time and is for frames
    less than twice as large; enlarging is bilinear.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"expected an (H, W, 3) uint8 image, got {image.shape} {image.dtype}")
    x, y, width, height = inspected_box(image.shape, spec)
    part = image[y : y + height, x : x + width]
    if (width, height) != (spec.width, spec.height):
        shrinks = spec.width <= width and spec.height <= height
        interpolation = cv2.INTER_AREA if shrinks and spec.interpolation == "area" else cv2.INTER_LINEAR
        part = np.asarray(cv2.resize(part, (spec.width, spec.height), interpolation=interpolation), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2RGB), dtype=np.uint8)[np.newaxis]
