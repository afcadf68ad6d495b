"""From bytes to the tensor the model sees: the one path that training and inspection both call."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt

from edge.core.types import FULL, Bits, EdgeError, Image
from edge.inference.container import JPEG_START, KINDS, PNG_START, container_fault
from edge.inference.part import Follow, joined, locate
from edge.inference.part.align import Align, aligned, corners_of

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_FILE_BYTES = 64 * 1024 * 1024
IGNORED = 128  # grey level of what is not judged
MAX_PIXELS = 64 * 1024 * 1024  # as edge tells OpenCV
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
MOST_ENLARGED = 8  # times: beyond it a picture, e.g. a thumbnail, holds nothing of what the model looks for
EXIF = b"Exif\0\0"  # before the notes of a photo camera, one of which is the orientation


class ImageError(EdgeError):
    """An image that cannot be read or does not fit the bundle."""


class ImageTooLargeError(ImageError):
    """An image of too many bytes or pixels."""


Point = tuple[FiniteFloat, FiniteFloat]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=1000)]
Box = tuple[int, int, int, int]  # x, y, width, height in frame pixels
Floats = NDArray[np.float64]
Pixel = TypeVar("Pixel", np.uint8, np.float32)


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
    follow: Follow | None = Field(default=None, exclude_if=lambda follow: follow is None)  # parts that move or turn
    align: Align | None = Field(default=None, exclude_if=lambda align: align is None)  # parts laid over the reference
    # Polygons whose inside is not judged, in pixels of the frame, or of the reference photo where the part is followed.
    ignore: tuple[Polygon, ...] = Field(default=(), exclude_if=lambda ignore: not ignore)
    # That a sample of a 16-bit picture uses; left out where it is 16, so that bundles stay as they were.
    bits: Bits = Field(default=FULL, exclude_if=lambda bits: bits == FULL)

    @property
    def searches(self) -> bool:
        """Whether the part is looked for in each frame, and may not be found."""
        return self.follow is not None or self.align is not None


def decode_image(data: bytes, name: str = "image", bits: Bits = FULL) -> Image:
    """Decode an encoded image to (H, W, 3) uint8 BGR; grey becomes three equal channels, alpha is dropped.

    bits: what a file with 16 bits a sample uses of them; see eight_bits. Raises ImageError when the bytes are empty,
    too many, not one whole picture of a kind that is read, or more than 64 megapixels.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes); take or export the image again")
    if len(data) > MAX_FILE_BYTES:
        raise ImageTooLargeError(f"{name}: {len(data)} bytes is over the limit of {MAX_FILE_BYTES}; save it smaller")
    if (fault := container_fault(data, MAX_PIXELS)) is not None:
        raise ImageError(f"{name}: {fault}")
    if data.startswith(JPEG_START):
        return _decode_jpeg(data, name)
    if bits == FULL:
        return np.asarray(_decode(data, cv2.IMREAD_COLOR, name), dtype=np.uint8)
    try:
        return eight_bits(_decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, name), bits)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def _decode(data: bytes, flags: int, name: str) -> NDArray[np.generic]:
    """Decode to (H, W, 3) or (H, W), of the depth that the flags ask for."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageTooLargeError(f"{name}: the image is refused; at most 64 megapixels are read") from error
    if image is None:
        raise ImageError(f"{name}: not a readable image, or damaged; use {KINDS}, and take or export it again")
    return image


def _decode_jpeg(jpeg: bytes, name: str) -> Image:
    """Decode a JPEG strictly: OpenCV would fill what libjpeg has to guess in silence.

    Both decoders are libjpeg-turbo and give the same pixels. OpenCV decodes again what may be stored turned.
    """
    try:
        height, width = simplejpeg.decode_jpeg_header(jpeg, strict=True)[:2]
        if height * width > MAX_PIXELS:
            raise ImageTooLargeError(f"{name}: {width}x{height} pixels; at most 64 megapixels are read")
        image = simplejpeg.decode_jpeg(jpeg, "BGR", strict=True)
    except (ValueError, KeyError) as error:  # KeyError: a header that names no known sampling
        raise ImageError(
            f"{name}: the JPEG is damaged and not a readable image ({error}); take or export the image again"
        ) from error
    return np.asarray(_decode(jpeg, cv2.IMREAD_COLOR, name) if EXIF in jpeg else image, dtype=np.uint8)


def eight_bits(samples: NDArray[np.generic], bits: Bits) -> Image:
    """Return the upper eight of the bits that each sample uses, as uint8 of the same shape; uint8 stays as it is.

    This is the one scaling of 10-, 12-, 14- and 16-bit pictures, in training and on the line. Raises ImageError
    when a sample uses more bits: such a picture is of another camera setting.
    """
    if samples.dtype == np.uint8:
        return np.asarray(samples, dtype=np.uint8)
    if samples.dtype != np.uint16:
        raise ImageError(f"samples of type {samples.dtype} are not read; save the image with 8 or 16 bits a sample")
    brightest = int(samples.max(initial=0))
    if brightest >> bits:
        raise ImageError(
            f"a sample is {brightest}, over the {bits} bits that are stated; state the bits that the camera gives "
            "(`bits` of the training, camera.bits of the station)"
        )
    return np.asarray(samples.astype(np.uint16) >> (bits - 8), dtype=np.uint8)


def used_bits(path: Path) -> Bits | None:
    """Return the least bits that hold every sample of a file with 16 bits a sample; None for one with 8.

    Raises ImageError naming the file.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(25)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    if not (head.startswith((b"II", b"MM")) or (head.startswith(PNG_START) and head[24:] == b"\x10")):
        return None  # without decoding it
    data = _read(path)
    if (fault := container_fault(data, MAX_PIXELS)) is not None:
        raise ImageError(f"{path}: {fault}")
    samples = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, str(path))
    if samples.dtype == np.uint8:
        return None
    return next(bits for bits in get_args(Bits) if int(samples.max(initial=0)) >> bits == 0)


def load_image(path: Path, bits: Bits = FULL) -> Image:
    """Read an image file like decode_image; raises ImageError naming the file."""
    return decode_image(_read(path), str(path), bits)


def is_turned(path: Path) -> bool:
    """Say whether a file stores its picture turned or mirrored, with a note of how to show it; raises ImageError."""
    data = _read(path)
    if EXIF[:4].lower() not in data.lower() and not data.startswith((b"II", b"MM")):
        return False
    stored, shown = (_decode(data, flags, str(path)) for flags in (_AS_STORED, cv2.IMREAD_COLOR))
    return stored.shape != shown.shape or not np.array_equal(stored, shown)


def _read(path: Path) -> bytes:
    """Read a plain file: what hangs (a pipe) or has no end is not even opened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: cannot be read (not a plain file)")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageTooLargeError(
                f"{path}: {status.st_size} bytes is over the limit of {MAX_FILE_BYTES}; save it smaller"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


@dataclass(frozen=True, slots=True)
class RegionView:
    """The inspected region in one frame: a rectangle of it, or one that moved and turned with the part."""

    box: Box  # the upright rectangle round the region, inside the frame
    matrix: Floats | None = None  # (2, 3): reference pixels -> frame pixels; None: the box is the region


def view_of(image: Image, spec: InputSpec) -> RegionView:
    """Find the inspected region of an (H, W, 3) uint8 BGR frame.

    Raises ImageError when the frame does not fit the bundle, PartNotFoundError when the part that is to be followed is
    not found.
    """
    known = spec.follow or spec.align
    if known is None:
        return RegionView(inspected_box(image.shape, spec))
    height, width = image.shape[:2]
    box = inspected_box(image.shape, spec)
    if (width, height) != (known.width, known.height):
        raise ImageError(
            f"the frame is {width}x{height}, but the bundle follows its part in {known.width}x"
            f"{known.height}; set the camera to the resolution it was trained with"
        )
    matrix = np.eye(2, 3) if spec.follow is None else locate(image, spec.follow).matrix
    if spec.align is not None:
        matrix = aligned(image, spec.align, matrix).matrix
    moved = corners_of(box) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    left, top = np.floor(np.clip(moved.min(axis=0), 0, (width - 1, height - 1))).astype(int)
    right, bottom = np.ceil(np.clip(moved.max(axis=0), (left + 1, top + 1), (width, height))).astype(int)
    return RegionView((int(left), int(top), int(right - left), int(bottom - top)), matrix)


def inspected_box(shape: tuple[int, ...], spec: InputSpec) -> Box:
    """Return the inspected rectangle of a frame of this shape: of the reference photo, where the part is followed.

    Raises ImageError when the bundle's crop lies outside the frame, or when the frame is far too small for the model.
    """
    height, width = shape[:2]
    crop = spec.crop
    if crop is None:
        if MOST_ENLARGED * width < spec.width or MOST_ENLARGED * height < spec.height:
            raise ImageError(
                f"the picture has {width}x{height} pixels, too few for a model that looks at "
                f"{spec.width}x{spec.height}; use the picture as the camera takes it, not a thumbnail"
            )
        return 0, 0, width, height
    if crop.x + crop.width > width or crop.y + crop.height > height:
        raise ImageError(
            f"the frame is {width}x{height}, but the bundle inspects {crop.width}x{crop.height} "
            f"at ({crop.x}, {crop.y}); set the camera to the resolution it was trained with"
        )
    return crop.x, crop.y, crop.width, crop.height


def region_to(size: tuple[int, int], spec: InputSpec, frame: tuple[int, ...]) -> Floats:
    """Return the (2, 3) matrix from pixels of a grid over the region, (width, height), to pixels of the reference.

    A pixel's centre has whole coordinates on both sides; frame: shape of the photo.
    """
    x, y, width, height = inspected_box(frame, spec)
    across, down = width / size[0], height / size[1]
    return np.array([[across, 0.0, x + (across - 1.0) / 2.0], [0.0, down, y + (down - 1.0) / 2.0]])


def cut(plane: NDArray[Pixel], view: RegionView, spec: InputSpec) -> NDArray[Pixel]:
    """Cut the region of a view out of an (H, W) or (H, W, 3) picture of the frame, at the size of the model's input.

    Shrinking averages over areas (no aliasing) unless the bundle says "linear", which takes a fifth of the time and is
    for frames less than twice as large; enlarging is bilinear. Beyond the frame its edge is repeated.
    """
    size = spec.width, spec.height
    if view.matrix is None:
        x, y, width, height = view.box
        part = plane[y : y + height, x : x + width]
        if (width, height) == size:
            return part
        shrinks = spec.width <= width and spec.height <= height
        how = cv2.INTER_AREA if shrinks and spec.interpolation == "area" else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, size, interpolation=how), plane.dtype)
    to_frame = joined(view.matrix, region_to(size, spec, plane.shape))
    height, width = plane.shape[:2]
    factor = int(min(np.hypot(*to_frame[:, 0]), np.hypot(*to_frame[:, 1])))
    if factor > 1 and spec.interpolation == "area":  # the rest is less than a factor of two
        small = width // factor, height // factor
        plane = np.asarray(cv2.resize(plane, small, interpolation=cv2.INTER_AREA), plane.dtype)
        shrunk = np.diag((small[0] / width, small[1] / height))
        to_frame = np.hstack([shrunk @ to_frame[:, :2], (shrunk @ (to_frame[:, 2:] + 0.5)) - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(plane, to_frame, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, plane.dtype)


def prepare(image: Image, spec: InputSpec, view: RegionView | None = None) -> Image:
    """Crop, resize and reorder (H, W, 3) uint8 BGR into the model's input (1, height, width, 3) uint8 RGB.

    view: where the region is, found here when it is not given. What is to be ignored becomes mid grey, so that it has
    no say. Pixel values are never rescaled here: normalisation is part of the model's graph. Raises what view_of does.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"expected an (H, W, 3) uint8 image, got {image.shape} {image.dtype}")
    part = cut(image, view_of(image, spec) if view is None else view, spec)
    tensor = np.asarray(cv2.cvtColor(np.asarray(part, np.uint8), cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if spec.ignore:
        tensor[ignored((spec.width, spec.height), spec, image.shape[:2])] = IGNORED
    return tensor[np.newaxis]


@lru_cache(maxsize=8)
def ignored(size: tuple[int, int], spec: InputSpec, frame: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixels of a grid over the region, (width, height), are ignored: (height, width), not to be changed.

    frame: shape of the photo.
    """
    found = np.zeros((size[1], size[0]), np.uint8)
    to_reference = region_to(size, spec, frame)
    for polygon in spec.ignore:
        at = (np.array(polygon) - to_reference[:, 2]) @ np.linalg.inv(to_reference[:, :2]).T
        cv2.fillPoly(found, [np.rint(at * 16).astype(np.int32)], 1, shift=4)
    return found > 0
