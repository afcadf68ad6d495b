"""A damaged TIFF, which OpenCV decodes without a word."""

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge.inference.container.tiff import CHUNK, DAMAGED, MOST_BYTES, SEVERAL, tiff_fault
from edge.inference.preprocess import MAX_PIXELS, ImageError, decode_image

NONE, LZW, DEFLATE, PACKBITS, JPEG = 1, 5, 8, 32773, 7
PICTURE = cv2.resize(np.random.default_rng(5).integers(0, 255, (40, 50, 3), np.uint8), (200, 160))


def tiff(image: np.ndarray, compression: int) -> bytes:
    return cv2.imencode(".tiff", image, [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS])
@given(
    image=st.one_of(
        arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)), elements=st.integers(0, 3)),
        arrays(np.uint8, st.tuples(st.integers(1, 300), st.integers(1, 40)), elements=st.just(7)),
        arrays(np.uint16, st.tuples(st.integers(1, 40), st.integers(1, 40))),
        st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).integers(0, 255, (90, 90, 3), np.uint8)),
    )
)
def test_a_whole_tiff_is_read(image: np.ndarray, compression: int) -> None:
    assert tiff_fault(tiff(image, compression), MAX_PIXELS) is None


@pytest.mark.parametrize("compression", [LZW, DEFLATE, PACKBITS])
def test_a_tiff_whose_middle_is_zero_is_refused(compression: int) -> None:
    """A copy that was broken off leaves zeros; OpenCV paints what it can and says nothing."""
    data = bytearray(tiff(PICTURE, compression))
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    with pytest.raises(ImageError, match="part: the TIFF is damaged"):
        decode_image(bytes(data), "part")


@given(share=st.floats(0, 0.999), compression=st.sampled_from([NONE, LZW, DEFLATE, PACKBITS]))
def test_a_tiff_that_is_cut_is_refused(share: float, compression: int) -> None:
    data = tiff(PICTURE, compression)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * share)])


@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_any_changed_byte_is_judged_without_an_exception(place: int, value: int) -> None:
    data = bytearray(tiff(PICTURE[:20, :20], LZW))
    data[place % len(data)] = value
    assert (
        tiff_fault(bytes(data), MAX_PIXELS) is None
        or "TIFF" in str(tiff_fault(bytes(data), MAX_PIXELS))
        or (tiff_fault(bytes(data), MAX_PIXELS) == SEVERAL)
    )


@pytest.mark.parametrize("image", [PICTURE.astype(np.float32), PICTURE.astype(np.float64)])
def test_samples_of_another_type_are_refused_with_the_remedy(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"bits is not read; save it as PNG, or as TIFF with 8 or 16 bits"):
        decode_image(tiff(image, NONE))


def test_a_jpeg_inside_a_tiff_is_refused_with_the_remedy() -> None:
    with pytest.raises(ImageError, match=r"compression 7 .* save it as PNG"):
        decode_image(tiff(PICTURE, JPEG))


def claims(**tags: int) -> bytes:
    """A TIFF of one grey strip, with single numbers as its tags say."""
    numbers = {"256": 4, "257": 4, "258": 8, "259": 1, "262": 1, "273": 8, "277": 1, "278": 4, "279": 16} | tags
    entries = b"".join(struct.pack("<HHII", int(tag), 4, 1, value) for tag, value in sorted(numbers.items()))
    return b"II*\0" + struct.pack("<I", 24) + bytes(range(16)) + struct.pack("<H", len(numbers)) + entries + bytes(4)


def test_a_directory_that_claims_the_impossible_is_refused_without_the_memory() -> None:
    assert tiff_fault(claims(), MAX_PIXELS) is None
    for wrong in ({"278": 1}, {"256": 0}, {"257": 0}, {"279": 15}, {"273": 2**31}, {"277": 3}, {"278": 0}):
        assert tiff_fault(claims(**wrong), MAX_PIXELS) == DAMAGED, wrong
    assert tiff_fault(claims(**{"322": MOST_BYTES, "323": 2**31, "324": 8, "325": 16}), MAX_PIXELS) == DAMAGED
    with pytest.raises(ImageError):
        decode_image(claims(**{"256": 2**31, "257": 2**31}))


def test_a_bomb_is_refused_without_its_memory_and_time() -> None:
    """64 megapixels of zeros in 64 kB, and a strip that only ever clears the table."""
    side = 8000
    zeros = zlib.compress(bytes(side * side * 3 + 1))
    clears = np.packbits(np.tile([1, 0, 0, 0, 0, 0, 0, 0, 0], 2_000_000)).tobytes()
    tracemalloc.start()
    try:
        assert one_strip(zeros, DEFLATE, side) == DAMAGED
        assert one_strip(clears, LZW, side) == DAMAGED
        assert tracemalloc.get_traced_memory()[1] < 64 * CHUNK
    finally:
        tracemalloc.stop()


def one_strip(data: bytes, compression: int, side: int) -> str | None:
    tags = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: side, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return tiff_fault(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory, MAX_PIXELS)
