"""Several pictures in one file, and kinds of files that are not read: refused before anything is decoded."""

import struct

import cv2
import numpy as np
import pytest

from edge.inference.container import SEVERAL, container_fault
from edge.inference.preprocess import MAX_PIXELS, ImageError, decode_image

PICTURE = cv2.resize(np.random.default_rng(5).integers(0, 255, (12, 16, 3), np.uint8), (64, 48))
OTHER = np.ascontiguousarray(PICTURE[::-1])


def encoded(ending: str, image: np.ndarray = PICTURE) -> bytes:
    return cv2.imencode(ending, image)[1].tobytes()


def animated(ending: str) -> bytes:
    animation = cv2.Animation()
    animation.frames, animation.durations = [PICTURE, OTHER], np.array([40, 40])
    done, data = cv2.imencodeanimation(ending, animation)
    assert done
    return data.tobytes()


def with_thumbnail(jpeg: bytes) -> bytes:
    """Put a whole JPEG into a segment of another one, as photo cameras do."""
    thumbnail = encoded(".jpg", PICTURE[::4, ::4])
    return jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_one_picture_of_each_kind_is_read(ending: str) -> None:
    assert container_fault(encoded(ending), MAX_PIXELS) is None
    assert decode_image(encoded(ending)).shape == (48, 64, 3)


@pytest.mark.parametrize(
    "data",
    [
        cv2.imencodemulti(".tiff", [PICTURE, OTHER])[1].tobytes(),
        animated(".webp"),
        animated(".png"),
        encoded(".jpg") + encoded(".jpg", OTHER),
        encoded(".jpg") + bytes(512) + encoded(".jpg", OTHER),
        encoded(".png") + encoded(".png", OTHER),
        encoded(".webp") + encoded(".webp", OTHER),
    ],
    ids=["TIFF pages", "WebP", "APNG", "MPO", "MPO with padding", "two PNG", "two WebP"],
)
def test_several_pictures_in_one_file_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"part: the file holds several pictures"):
        decode_image(data, "part")


@pytest.mark.parametrize(
    "data", [animated(".gif"), encoded(".gif"), encoded(".ppm"), encoded(".jp2"), encoded(".avif")]
)
def test_a_kind_of_file_that_is_not_stated_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"use PNG, JPEG, BMP, TIFF or WebP"):
        decode_image(data)


def test_a_thumbnail_inside_a_jpeg_is_no_second_picture() -> None:
    assert container_fault(with_thumbnail(encoded(".jpg")), MAX_PIXELS) is None
    assert container_fault(with_thumbnail(encoded(".jpg")) + encoded(".jpg"), MAX_PIXELS) == SEVERAL
