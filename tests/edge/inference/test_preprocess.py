"""edge.inference.preprocess: the one path from bytes to the model's input."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Bits, Image
from edge.inference.preprocess import (
    MAX_FILE_BYTES,
    Crop,
    ImageError,
    InputSpec,
    decode_image,
    eight_bits,
    image_files,
    inspected_box,
    load_image,
    prepare,
    used_bits,
)

SQUARE = InputSpec(width=32, height=32)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def painted(blue: int, green: int, red: int, size: int = 32) -> Image:
    return np.full((size, size, 3), (blue, green, red), np.uint8)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_model_sees_red_green_blue(size: int) -> None:
    tensor = prepare(painted(blue=10, green=20, red=30, size=size), SQUARE)
    assert tensor.shape == (1, 32, 32, 3)
    assert (tensor == (30, 20, 10)).all()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp"])
def test_a_file_and_a_frame_give_the_same_tensor(tmp_path: Path, suffix: str) -> None:
    """Files are decoded to the camera's colour order: an upload is never judged with red and blue swapped."""
    frame = painted(blue=200, green=100, red=0)
    path = tmp_path / f"part{suffix}"
    assert cv2.imwrite(str(path), frame, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])
    assert np.array_equal(prepare(load_image(path), SQUARE), prepare(frame, SQUARE))


@given(value=st.integers(0, 255), size=st.integers(8, 80))
def test_pixel_values_are_never_rescaled(value: int, size: int) -> None:
    """A dark frame (all 0 or 1) stays dark: `if image.max() > 1: divide` is the trap."""
    assert (prepare(painted(value, value, value, size), SQUARE) == value).all()


def test_shrinking_averages_over_areas() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (prepare(stripes, SQUARE) == 100).all()


def test_a_bundle_that_says_linear_takes_the_pixels_between_and_averages_nothing_else() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255
    area, linear = (prepare(stripes, InputSpec(width=16, height=16, interpolation=how)) for how in ("area", "linear"))
    assert set(area.flatten().tolist()) == {64}
    assert set(linear.flatten().tolist()) == {0}


def test_prepare_leaves_the_frame_alone() -> None:
    frame = painted(1, 2, 3)
    tensor = prepare(frame, SQUARE)
    tensor[:] = 0
    assert (frame == (1, 2, 3)).all()


@given(x=st.integers(0, 60), y=st.integers(0, 60), width=st.integers(1, 60), height=st.integers(1, 60))
def test_a_crop_is_inside_the_frame_or_refused(x: int, y: int, width: int, height: int) -> None:
    spec = InputSpec(crop=Crop(x=x, y=y, width=width, height=height), width=8, height=8)
    if x + width <= 64 and y + height <= 48:
        assert inspected_box((48, 64, 3), spec) == (x, y, width, height)
        assert prepare(np.zeros((48, 64, 3), np.uint8), spec).shape == (1, 8, 8, 3)
    else:
        with pytest.raises(ImageError, match="the frame is 64x48"):
            prepare(np.zeros((48, 64, 3), np.uint8), spec)


def test_the_crop_is_taken_before_the_resize() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[40:72, 20:52] = 255
    assert (prepare(frame, InputSpec(crop=Crop(x=20, y=40, width=32, height=32), width=32, height=32)) == 255).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.uint16),
        np.zeros((32, 32, 3), np.float32),
    ],
)
def test_only_eight_bit_colour_frames_are_prepared(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected an"):
        prepare(image, SQUARE)


def test_grey_becomes_three_equal_channels() -> None:
    image = decode_image(png(np.full((4, 5), 77, np.uint8)))
    assert image.shape == (4, 5, 3)
    assert (image == 77).all()


def test_alpha_is_dropped() -> None:
    transparent = np.full((4, 4, 4), (10, 20, 30, 0), np.uint8)
    assert (decode_image(png(transparent)) == (10, 20, 30)).all()


def test_sixteen_bits_become_the_upper_eight() -> None:
    image = decode_image(png(np.full((4, 4), 0xAB12, np.uint16)))
    assert image.dtype == np.uint8
    assert (image == 0xAB).all()


def test_the_camera_orientation_note_of_a_photo_is_followed() -> None:
    """EXIF orientation 6: the left half of the stored picture is the top half of the scene."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:, :16] = 255
    jpeg = cv2.imencode(".jpg", stored)[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = decode_image(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    assert turned.shape == (32, 16, 3)
    assert turned[:14].min() > 200
    assert turned[18:].max() < 60


@given(share=st.floats(0.3, 0.999), marked=st.booleans())
def test_a_jpeg_that_is_cut_is_refused_whether_or_not_an_end_marker_follows(share: float, marked: bool) -> None:
    picture = np.random.default_rng(3).integers(0, 255, (64, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    cut = jpeg[: int(len(jpeg) * share)] + (b"\xff\xd9" if marked else b"")
    with pytest.raises(ImageError, match=r"part.jpg: the JPEG is damaged"):
        decode_image(cut, "part.jpg")


def claims(width: int, height: int) -> bytes:
    """A tiny PNG whose header says that it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8193, 8192), (60000, 60000), (2**31 - 1, 1)])
def test_an_image_over_the_pixel_limit_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="bomb"):
        decode_image(claims(*size), "bomb.png")


def test_a_file_over_the_size_limit_is_refused() -> None:
    with pytest.raises(ImageError, match="over the limit"):
        decode_image(bytes(MAX_FILE_BYTES + 1))


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_image_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ImageError) as refused:
        decode_image(data, "upload")
    assert str(refused.value).startswith("upload: ")
    assert "\n" not in str(refused.value)


@given(cut=st.integers(0, 60))
def test_the_start_of_a_png_is_refused(cut: int) -> None:
    with pytest.raises(ImageError):
        decode_image(png(painted(1, 2, 3))[:cut])


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path)


def test_images_of_a_folder_are_sorted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "c.tiff"):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ["a.JPG", "b.png", "c.tiff"]


@given(
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grey=st.booleans(),
    quality=st.integers(20, 100),
    sampling=st.sampled_from([0x411111, 0x422111, 0x420111, 0x440111, 0x444111]),
)
def test_a_jpeg_has_the_same_pixels_in_both_decoders(
    seed: int, size: tuple[int, int], grey: bool, quality: int, sampling: int
) -> None:
    """What was trained with one decoder is judged with the other."""
    picture = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    jpeg = cv2.imencode(".jpg", picture[..., 0] if grey else picture, flags)[1]
    assert np.array_equal(decode_image(jpeg.tobytes()), cv2.imdecode(jpeg, cv2.IMREAD_COLOR))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_and_an_endless_file_are_refused_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path / "pipe.png")
    with (tmp_path / "sparse.png").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(ImageError, match="over the limit"):
        load_image(tmp_path / "sparse.png")


def test_the_upper_bits_of_a_sample_are_judged_and_none_is_lost() -> None:
    """12 bits in 16, as a Mono12 camera stores them: as a file, and as an array from a camera."""
    samples = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    judged = decode_image(png(samples), "part", 12)
    assert np.array_equal(judged[..., 0], samples >> 4)
    assert np.array_equal(eight_bits(samples, 12), samples >> 4)


def test_a_sample_over_the_stated_bits_is_refused_with_the_remedy() -> None:
    with pytest.raises(ImageError, match=r"part: a sample is 4096, over the 12 bits"):
        decode_image(png(np.full((4, 4), 4096, np.uint16)), "part", 12)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_an_eight_bit_file_is_the_same_whatever_the_bits(bits: Bits) -> None:
    assert np.array_equal(decode_image(png(painted(1, 2, 3)), "part", bits), decode_image(png(painted(1, 2, 3))))


def test_the_bits_are_in_a_manifest_only_where_they_are_not_all_sixteen() -> None:
    assert "bits" not in InputSpec(width=8, height=8).model_dump_json()
    assert InputSpec.model_validate_json(InputSpec(width=8, height=8, bits=12).model_dump_json()).bits == 12


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_the_bits_that_a_file_uses_are_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"part{suffix}"
    for brightest, bits in ((255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16)):
        assert cv2.imwrite(str(path), np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8))
        assert used_bits(path) == bits
    assert cv2.imwrite(str(path), painted(1, 2, 3))
    assert used_bits(path) is None
