"""edge.inference.placement: a cell's value appears where the cell looks, and nowhere else."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Image
from edge.inference.placement import MapGeometry, placed, said_by
from edge.inference.preprocess import InputSpec

SPEC = InputSpec(width=256, height=192)


def flat(spec: InputSpec = SPEC) -> Image:
    return np.full((1, spec.height, spec.width, 3), 128, np.uint8)


def geometry(stride: int, offset: tuple[float, float], spec: InputSpec = SPEC) -> MapGeometry:
    return MapGeometry(columns=spec.width // stride, rows=spec.height // stride, stride=stride, offset=offset)


@settings(deadline=None, max_examples=60)
@given(
    stride=st.sampled_from([8, 16]),
    shift=st.tuples(st.floats(-14, 14), st.floats(-14, 14)),
    cell=st.tuples(st.integers(4, 7), st.integers(4, 7)),
)
def test_a_hot_cell_is_centred_on_the_pixel_that_it_looks_at(
    stride: int, shift: tuple[float, float], cell: tuple[int, int]
) -> None:
    middle = (stride - 1) / 2
    place = geometry(stride, (middle + shift[0], middle + shift[1]))
    cells = np.zeros((place.rows, place.columns), np.float32)
    cells[cell[1], cell[0]] = 1.0
    found = placed(cells, place, flat()).astype(np.float64)
    y, x = np.indices(found.shape)
    step = SPEC.width / found.shape[1]
    seen = [(found * (axis + 0.5)).sum() / found.sum() * step - 0.5 for axis in (x, y)]
    wanted = [place.offset[axis] + stride * cell[axis] for axis in (0, 1)]
    assert seen == pytest.approx(wanted, abs=0.75)


@pytest.mark.parametrize("size", [(512, 384), (333, 777), (64, 48)])
def test_a_plain_resize_of_a_placed_map_lies_true_on_any_frame(size: tuple[int, int]) -> None:
    place = geometry(16, (-5.0, -5.0))
    cells = np.zeros((12, 16), np.float32)
    cells[6, 8] = 1.0
    found = cv2.resize(placed(cells, place, flat()), size, interpolation=cv2.INTER_LINEAR).astype(np.float64)
    y, x = np.indices(found.shape)
    seen = ((found * (x + 0.5)).sum() / found.sum() / size[0], (found * (y + 0.5)).sum() / found.sum() / size[1])
    assert seen == pytest.approx(((-5 + 16 * 8 + 0.5) / 256, (-5 + 16 * 6 + 0.5) / 192), abs=0.005)


def test_a_map_of_one_value_stays_that_value_up_to_the_edges() -> None:
    cells = np.full((12, 16), 0.7, np.float32)
    assert placed(cells, geometry(16, (-5.0, -6.0)), flat()) == pytest.approx(0.7, abs=1e-5)


def test_a_placed_map_is_never_negative() -> None:
    cells = np.zeros((12, 16), np.float32)
    cells[5:7, 5:7] = 9.0
    assert placed(cells, geometry(16, (7.5, 7.5)), flat()).min() >= 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_cell_that_is_not_a_number_leaves_no_number(bad: float) -> None:
    cells = np.zeros((12, 16), np.float32)
    cells[6, 8] = bad
    assert np.isnan(placed(cells, geometry(16, (7.5, 7.5)), flat())).all()


def test_the_map_follows_the_edges_of_the_image() -> None:
    image = flat()
    image[:, :, 100:] = 20
    cells = np.zeros((12, 16), np.float32)
    cells[:, 6:] = 1.0  # from pixel 96 on, blurred over a cell
    sharp, soft = (placed(cells, geometry(16, (7.5, 7.5)), picture)[24] for picture in (image, flat()))
    edge = 100 // 4
    assert sharp[edge] - sharp[edge - 1] > 2 * (soft[edge] - soft[edge - 1])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"columns": 20}, "20 columns 16 pixels apart do not cover an input of 256 pixels"),
        ({"rows": 6}, "6 rows 16 pixels apart do not cover an input of 192 pixels"),
        ({"stride": 8.0}, "16 columns 8 pixels apart"),
        ({"offset": (60.0, 7.5)}, "columns begin at 60 pixels"),
        ({"offset": (7.5, -40.0)}, "rows begin at -40 pixels"),
    ],
)
def test_a_geometry_that_does_not_fit_the_input_says_why(changed: dict[str, object], words: str) -> None:
    facts = {"columns": 16, "rows": 12, "stride": 16.0, "offset": (-5.0, -5.0), **changed}
    misfit = MapGeometry.model_validate(facts).misfit(SPEC)
    assert misfit is not None
    assert words in misfit


def test_a_geometry_that_fits_has_no_misfit() -> None:
    assert geometry(16, (-5.0, -6.1)).misfit(SPEC) is None
    assert MapGeometry.centred(16, 12, SPEC).offset == (7.5, 7.5)


@given(st.lists(st.floats(-50, 50, width=32), min_size=12, max_size=12))
def test_a_class_map_is_painted_by_share_and_faintly_where_the_part_looks_good(values: list[float]) -> None:
    cells = np.array(values, np.float32).reshape(3, 4)
    said = said_by(cells)
    assert said.min() >= 0
    assert said.max() <= 1
    assert not said[cells <= 0].any()
    if cells.max() > 0:
        sure = 1 / (1 + math.exp(-float(cells.mean(dtype=np.float64))))
        assert said.max() == pytest.approx(sure, abs=1e-6)
        assert said.max() == said.flat[int(cells.argmax())]


def test_a_class_map_that_is_not_finite_is_not_painted() -> None:
    assert not said_by(np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)).any()
    assert not said_by(np.array([[1.0, np.inf], [2.0, 3.0]], np.float32)).any()
