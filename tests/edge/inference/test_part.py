"""A part that moves and turns is found again, the region goes with it, and its map comes back to the frame."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.core.types import Image, Limits, Prediction, Reason, Verdict
from edge.engine.judge import judge
from edge.inference.detector import Detector
from edge.inference.part import (
    AROUND,
    By,
    Follow,
    PartNotFoundError,
    centre_of,
    joined,
    locate,
    polar,
    reduced,
    silhouette,
)
from edge.inference.placement import MapGeometry, on_frame
from edge.inference.preprocess import Crop, ImageError, InputSpec, ignored, prepare, region_to, view_of
from edge.inference.usable import UnusableError, load_photo
from tests.tiny import LIMITS, SIZE, write_tiny_model

WIDTH, HEIGHT = 480, 320
CENTRE = (240.0, 160.0)


def part(shape: str) -> tuple[Image, Image]:
    """A board with traces, or a flange with one hole of six filled, and where it is, both of the frame's size."""
    image, cover = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y = (int(value) for value in CENTRE)
    if shape == "board":
        cover[y - 50 : y + 50, x - 70 : x + 70] = 255
        image[:] = (60, 120, 60)
        image[y - 40 : y - 30, x - 60 : x + 20] = image[y : y + 30, x + 30 : x + 60] = (130, 200, 210)
    else:
        cv2.circle(cover, (x, y), 70, 255, cv2.FILLED)
        image[:] = (175, 180, 185)
        for hole in range(6):
            at = round(x + 48 * np.cos(hole * np.pi / 3)), round(y + 48 * np.sin(hole * np.pi / 3))
            cv2.circle(image, at, 9, (40, 40, 40) if hole else (110, 110, 250), cv2.FILLED)
    return image, cover


def moved(dx: float, dy: float, degrees: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The matrix from the reference to the frame; degrees clockwise as seen."""
    matrix = np.asarray(cv2.getRotationMatrix2D(CENTRE, -degrees, 1.0), np.float64)
    matrix[:, 2] += dx, dy
    return matrix


def photo(shape: str, dx: float = 0.0, dy: float = 0.0, degrees: float = 0.0, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    image, cover = (cv2.warpAffine(one, moved(dx, dy, degrees), (WIDTH, HEIGHT)) for one in part(shape))
    share = cover[..., np.newaxis] / 255.0
    down, _ = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = (95 + 20 * down / HEIGHT)[..., np.newaxis]
    return np.clip(image * share + light * (1 - share) + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def follow(shape: str, by: By, turn: bool = True, **facts: Any) -> Follow:
    small = reduced(photo(shape))
    mask = silhouette(small)
    scale, centre = WIDTH / small.shape[1], centre_of(mask)
    rows, columns = np.nonzero(mask)
    radius = AROUND * float(np.hypot(columns - centre[0], rows - centre[1]).max())
    found: dict[str, Any] = {
        "width": WIDTH,
        "height": HEIGHT,
        "centre": tuple((centre + 0.5) * scale - 0.5),
        "radius": radius * scale,
        "by": by,
        "turn": turn,
        "signal": base64.b64encode(polar(small, mask, centre, radius, by).tobytes()).decode(),
        "least": 0.7,
        "reach_px": 150.0,
        "reach_deg": 180.0,
    }
    return Follow(**found | facts)


BOARD = follow("board", "outline")
FLANGE = follow("flange", "picture")
CROP = Crop(x=160, y=100, width=160, height=120)
SPEC = InputSpec(crop=CROP, follow=BOARD, width=160, height=128)


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-90, 90), dy=st.floats(-60, 60), degrees=st.floats(-40, 40))
def test_a_board_is_found_by_its_outline_wherever_it_lies(dx: float, dy: float, degrees: float) -> None:
    pose = locate(photo("board", dx, dy, degrees), BOARD)
    assert abs(pose.turn - degrees) < 1.5
    assert np.abs(pose.matrix @ [*CENTRE, 1.0] - moved(dx, dy, degrees) @ [*CENTRE, 1.0]).max() < 3.0


@settings(max_examples=20, deadline=None)
@given(dx=st.floats(-90, 90), dy=st.floats(-60, 60), degrees=st.floats(-180, 180))
@example(dx=0.0, dy=0.0, degrees=180.0)
@example(dx=0.0, dy=0.0, degrees=-179.8)
@example(dx=0.0, dy=0.0, degrees=179.8)
def test_a_flange_is_found_by_its_picture_however_it_is_turned(dx: float, dy: float, degrees: float) -> None:
    pose = locate(photo("flange", dx, dy, degrees), FLANGE)
    assert abs((pose.turn - degrees + 180) % 360 - 180) < 1.5
    assert np.abs(pose.matrix @ [*CENTRE, 1.0] - moved(dx, dy, degrees) @ [*CENTRE, 1.0]).max() < 3.0


def test_a_part_that_only_moves_is_never_turned() -> None:
    assert locate(photo("board", 30, 10, 8), follow("board", "outline", turn=False)).turn == 0.0


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (photo("board", 2000), "nothing stands out against the background"),
        (photo("board", 200), "the part is not whole: it reaches the edge of the picture"),
        (photo("flange"), "no part is found: what stands out is 0."),
    ],
    ids=["absent", "leaves", "another"],
)
def test_a_part_that_is_not_there_is_named(image: Image, words: str) -> None:
    with pytest.raises(PartNotFoundError, match=words):
        locate(image, follow("board", "outline", least=0.97))


def test_a_part_that_is_too_far_is_named_with_both_limits() -> None:
    with pytest.raises(PartNotFoundError, match=r"the part is too far: 60 pixels and 0 degrees .*, at most 50 and 180"):
        locate(photo("board", 60), follow("board", "outline", reach_px=50.0))
    with pytest.raises(PartNotFoundError, match=r"20 degrees from the reference, at most 150 and 10"):
        locate(photo("board", 0, 0, 20), follow("board", "outline", reach_deg=10.0))


points = st.tuples(st.floats(-50, 600), st.floats(-50, 400))


@given(dx=st.floats(-90, 90), dy=st.floats(-60, 60), degrees=st.floats(-180, 180), point=points)
def test_a_point_that_goes_to_the_region_and_back_is_where_it_was(
    dx: float, dy: float, degrees: float, point: tuple[float, float]
) -> None:
    there = joined(moved(dx, dy, degrees), region_to((160, 128), SPEC, (HEIGHT, WIDTH)))
    back = np.asarray(cv2.invertAffineTransform(there), np.float64)
    assert np.allclose(joined(back, there) @ [*point, 1.0], point, atol=1e-6)


def test_the_model_sees_a_moved_board_as_the_reference() -> None:
    still = prepare(photo("board"), SPEC).astype(int)
    for dx, dy, degrees in ((60, -30, 0), (-40, 20, 15), (10, 40, -30)):
        assert np.abs(prepare(photo("board", dx, dy, degrees), SPEC).astype(int) - still).mean() < 5.0
    assert np.abs(prepare(photo("board", 60, -30), SPEC.model_copy(update={"follow": None})) - still).mean() > 20.0


@pytest.mark.parametrize("degrees", [0.0, 25.0, -38.0])
def test_what_the_map_marks_in_the_region_lies_there_in_the_frame(degrees: float) -> None:
    frame = photo("board", 35, -20, degrees)
    view = view_of(frame, SPEC)
    region = np.zeros((32, 40), np.float32)
    region[8:10, 30:32] = 1.0
    found = on_frame(region, view, SPEC, frame.shape)
    x, y, width, height = view.box
    rows, columns = np.nonzero(found > 0.5)
    seen = x + (columns.mean() + 0.5) * width / found.shape[1], y + (rows.mean() + 0.5) * height / found.shape[0]
    true = moved(35, -20, degrees) @ [CROP.x + 31 * CROP.width / 40, CROP.y + 9 * CROP.height / 32, 1.0]
    assert np.abs(true - seen).max() < 5.0


def test_a_map_that_is_not_finite_stays_so() -> None:
    frame = photo("board", 35, -20, 25)
    region = np.full((32, 40), np.nan, np.float32)
    assert np.isnan(on_frame(region, view_of(frame, SPEC), SPEC, frame.shape)).any()


def test_a_region_that_does_not_follow_keeps_its_map() -> None:
    spec = InputSpec(crop=CROP, width=160, height=128)
    region = np.ones((32, 40), np.float32)
    assert on_frame(region, view_of(photo("board"), spec), spec, (HEIGHT, WIDTH, 3)) is region


POLYGON = ((180.0, 120.0), (220.0, 120.0), (220.0, 160.0), (180.0, 160.0))


@pytest.mark.parametrize("spec", [SPEC, InputSpec(width=240, height=160), InputSpec(crop=CROP, width=80, height=60)])
def test_what_lies_in_an_ignored_polygon_has_no_say(spec: InputSpec) -> None:
    spec = spec.model_copy(update={"ignore": (POLYGON,)})
    plain = photo("board")
    soiled = plain.copy()
    soiled[125:155, 185:215] = 255 - soiled[125:155, 185:215]
    assert np.array_equal(prepare(plain, spec), prepare(soiled, spec))
    beside = plain.copy()
    beside[170:200, 185:215] = 255 - beside[170:200, 185:215]
    assert not np.array_equal(prepare(plain, spec), prepare(beside, spec))


def test_an_ignored_polygon_is_never_marked() -> None:
    spec = InputSpec(crop=CROP, width=160, height=128, ignore=(POLYGON,))
    found = on_frame(np.ones((32, 40), np.float32), view_of(photo("board"), spec), spec, (HEIGHT, WIDTH, 3))
    assert np.array_equal(found == 0, ignored((40, 32), spec, (HEIGHT, WIDTH)))
    assert (found[6:15, 6:14] == 0).all()
    assert (found[20:] == 1).all()


class Model:
    """A model that marks nothing."""

    spec = SPEC

    def predict(self, image: Image) -> Prediction:
        view = view_of(image, self.spec)
        return Prediction(0.1, 0.0, np.zeros((8, 8), np.float32), 0.0, 0.0, box=view.box)


def test_a_part_that_is_not_found_is_an_error_and_one_that_is_gets_its_verdict() -> None:
    limits = Limits(1.0, 1.0)
    assert judge(Model(), limits, photo("board", 50)).decision.verdict is Verdict.OK
    lost = judge(Model(), limits, photo("board", 200))
    assert (lost.decision.verdict, lost.decision.reason) == (Verdict.ERROR, Reason.PART_NOT_FOUND)
    assert lost.decision.detail == "the part is not whole: it reaches the edge of the picture"


def test_the_box_that_was_judged_is_where_the_part_is() -> None:
    there, moved_there = (judge(Model(), Limits(1.0, 1.0), photo("board", dx)).box for dx in (0, 60))
    assert there is not None
    assert moved_there is not None
    assert abs(moved_there[0] - there[0] - 60) <= 4


def test_a_frame_of_another_size_is_refused_in_one_line() -> None:
    with pytest.raises(ImageError, match=r"the frame is 480x300, but the bundle follows its part in 480x320"):
        view_of(photo("board")[:300], SPEC)


def test_a_photo_without_its_part_is_refused_as_on_the_line(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "none.png"), photo("board", 2000))
    with pytest.raises(UnusableError, match=r"none.png: no part is found"):
        load_photo(tmp_path / "none.png", SPEC)


def test_a_bundle_without_the_keys_stays_as_it_was() -> None:
    assert set(InputSpec(width=8, height=8).model_dump()) == {"crop", "width", "height", "colour", "interpolation"}
    again = InputSpec.model_validate_json(SPEC.model_dump_json(), strict=True)
    assert again == SPEC


def test_the_detector_finds_a_spot_on_a_turned_part_where_it_is_in_the_frame(tmp_path: Path) -> None:
    plate = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    plate[110:210, 170:310] = 128
    spot = plate.copy()
    spot[126:138, 190:202] = 255  # x, y of its middle: 195.5, 131.5
    small = reduced(plate)
    facts = follow("board", "outline").model_dump()
    scale, mask = WIDTH / small.shape[1], silhouette(small)
    signal = polar(small, mask, centre_of(mask), facts["radius"] / scale, "outline")
    there = Follow(**facts | {"signal": base64.b64encode(signal.tobytes()).decode()})
    spec = InputSpec(crop=Crop(x=180, y=115, width=120, height=90), follow=there, width=SIZE, height=SIZE)
    write_tiny_model(tmp_path / "model.onnx")
    cells = MapGeometry(columns=SIZE // 8, rows=SIZE // 8, stride=8.0, offset=(3.5, 3.5))
    detector = Detector(tmp_path / "model.onnx", spec, runtime="onnxruntime", geometry=cells)
    matrix = moved(40, -25, 20)
    good, bad = (cv2.warpAffine(one, matrix, (WIDTH, HEIGHT), borderValue=(60, 60, 60)) for one in (plate, spot))
    assert judge(detector, LIMITS, good).decision.verdict is Verdict.OK
    decision = judge(detector, LIMITS, bad).decision
    assert decision.verdict is Verdict.NG
    x, y = matrix @ [195.5, 131.5, 1.0]
    region = decision.regions[0]
    cell = 15, 12  # frame pixels
    assert abs(region.x + region.w / 2 - x) < cell[0]
    assert abs(region.y + region.h / 2 - y) < cell[1]
