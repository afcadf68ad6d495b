"""A frame is laid over the reference to a fraction of a pixel, and what is another thing or too far is refused."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from edge.core.types import Image
from edge.inference.part import PartNotFoundError
from edge.inference.part.align import Align, aligned, corners_of, factor_for, grey_of, written_picture
from edge.inference.preprocess import Crop, ImageError, InputSpec, prepare, view_of

WIDTH, HEIGHT = 640, 480
BOX = (120, 80, 400, 320)
STILL = np.eye(2, 3)


def scene(seed: int = 3) -> Image:
    """A board with parts on it, alike nowhere."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), (60, 110, 50), np.uint8)
    for _ in range(60):
        x, y, w, h = (int(value) for value in rng.integers((60, 50, 8, 8), (560, 420, 60, 40)))
        cv2.rectangle(image, (x, y), (x + w, y + h), tuple(int(v) for v in rng.integers(0, 255, 3)), cv2.FILLED)
    return cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.uint8)


def to_frame(dx: float, dy: float, degrees: float) -> NDArray[np.float64]:
    matrix = np.asarray(cv2.getRotationMatrix2D((320.0, 240.0), -degrees, 1.0), np.float64)
    matrix[:, 2] += dx, dy
    return matrix


def frame(dx: float = 0.0, dy: float = 0.0, degrees: float = 0.0, gain: float = 1.0, dark: float = 0.0) -> Image:
    moved = cv2.warpAffine(scene(), to_frame(dx, dy, degrees), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    noise = np.random.default_rng(0).normal(0, 3, moved.shape)
    return np.clip(moved * gain - dark + noise, 0, 255).astype(np.uint8)


def align(**facts: object) -> Align:
    factor = factor_for(BOX)
    picture = written_picture(grey_of(scene(), BOX, factor))
    known = {"width": WIDTH, "height": HEIGHT, "box": BOX, "factor": factor, "picture": picture}
    return Align.model_validate(known | {"least": 0.7, "reach_px": 30.0} | facts)


SPEC = InputSpec(crop=Crop(x=120, y=80, width=400, height=320), width=200, height=160, align=align())


@settings(max_examples=15, deadline=None)
@given(
    dx=st.floats(-8, 8),
    dy=st.floats(-8, 8),
    degrees=st.floats(-2, 2),
    gain=st.floats(0.6, 1.1),
    dark=st.floats(0, 20),
)
def test_a_part_is_found_to_a_fraction_of_a_pixel_in_any_light(
    dx: float, dy: float, degrees: float, gain: float, dark: float
) -> None:
    found = aligned(frame(dx, dy, degrees, gain, dark), align(), STILL)
    expected = to_frame(dx, dy, degrees)
    corners = corners_of(BOX)
    off = corners @ found.matrix[:, :2].T + found.matrix[:, 2] - corners @ expected[:, :2].T - expected[:, 2]
    assert np.abs(off).max() < 0.6


@pytest.mark.parametrize("degrees", [-170.0, -95.0, -30.0, 60.0, 91.0, 179.0])
def test_a_part_that_is_known_to_be_turned_is_found_as_exactly(degrees: float) -> None:
    there = frame(2.4, -1.8, degrees)
    found = aligned(there, align(), to_frame(0.0, 0.0, degrees + 1.0))
    corners, expected = corners_of(BOX), to_frame(2.4, -1.8, degrees)
    off = corners @ found.matrix[:, :2].T + found.matrix[:, 2] - corners @ expected[:, :2].T - expected[:, 2]
    assert np.abs(off).max() < 0.8


def test_the_model_sees_a_moved_part_where_it_sees_the_reference() -> None:
    still = prepare(frame(), SPEC).astype(int)
    assert np.abs(prepare(frame(5.3, -3.7, 1.2), SPEC).astype(int) - still).mean() < 4.0
    unaligned = SPEC.model_copy(update={"align": None})
    assert np.abs(prepare(frame(5.3, -3.7, 1.2), unaligned).astype(int) - still).mean() > 8.0


@pytest.mark.parametrize("image", [np.full((HEIGHT, WIDTH, 3), 90, np.uint8), scene(4)], ids=["nothing", "another"])
def test_another_thing_is_no_part(image: Image) -> None:
    with pytest.raises(PartNotFoundError, match="no part is found: what is there"):
        view_of(image, SPEC)


def test_a_part_that_is_too_far_is_named_with_its_limit() -> None:
    with pytest.raises(PartNotFoundError, match=r"too far: [67] pixels from where good parts lie, at most 5 are known"):
        aligned(frame(6.5), align(reach_px=5.0), STILL)


def test_a_frame_of_another_size_names_both() -> None:
    with pytest.raises(ImageError, match=r"640x481, but the bundle follows its part in 640x480"):
        view_of(np.zeros((481, 640, 3), np.uint8), SPEC)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("bm8=", "no PNG"),
        ("", "no PNG"),
        (written_picture(np.zeros((5, 5), np.uint8)), "another size"),
        ("?", "base64"),
    ],
)
def test_a_reference_that_is_no_picture_of_the_box_is_refused(picture: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        align(picture=picture)


def test_what_is_written_into_a_bundle_is_read_back() -> None:
    assert InputSpec.model_validate_json(SPEC.model_dump_json()) == SPEC
    assert "align" not in InputSpec(width=64, height=64).model_dump()
