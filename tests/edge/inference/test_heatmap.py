"""edge.inference.heatmap: colours mean the same on every image, and an outline means NG."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import AnomalyMap, Image, Limits, Verdict
from edge.inference.decision import mark
from edge.inference.heatmap import CSS_STOPS, RAMP, TOP, class_overlay, overlay, shares

BOX = (0, 0, 64, 64)
LIMITS = Limits(threshold=40.0, marking=42.0, typical=30.0)
STYLE = Path(__file__).parents[3] / "edge" / "web" / "static" / "parts.css"


def grey(size: int = 64) -> Image:
    return np.full((size, size, 3), 90, np.uint8)


def painted(anomaly_map: AnomalyMap, limits: Limits = LIMITS, verdict: Verdict = Verdict.OK) -> Image:
    return overlay(grey(), anomaly_map, limits, BOX, verdict)


def white(image: Image) -> np.ndarray:
    return (image == 255).all(axis=2)


@given(st.floats(0, 42, width=32))
def test_what_good_parts_reach_is_not_painted(value: float) -> None:
    assert np.array_equal(painted(np.full((4, 4), value, np.float32)), grey())


def test_more_anomaly_is_never_nearer_to_the_photo() -> None:
    steps = [painted(np.full((4, 4), value, np.float32))[0, 0].astype(int) for value in (43, 50, 60, 70, 80)]
    change = [int(np.abs(step - 90).sum()) for step in steps]
    assert change == sorted(change)
    assert change[0] > 0


@pytest.mark.parametrize("neighbour", [0.0, 35.0, 70.0])
def test_a_colour_depends_only_on_value_and_limits(neighbour: float) -> None:
    """Per-image scaling would repaint the left half when the right half changes."""
    anomaly_map = np.full((8, 8), 50.0, np.float32)
    alone = painted(anomaly_map)
    anomaly_map[:, 5:] = neighbour
    assert np.array_equal(painted(anomaly_map)[:, :24], alone[:, :24])


@given(value=st.floats(0, 120, width=32), factor=st.sampled_from([0.5, 2.0, 4.0]))
def test_the_scale_is_tied_to_the_limits(value: float, factor: float) -> None:
    level = np.full((2, 2), value, np.float32)
    scaled = Limits(LIMITS.threshold * factor, LIMITS.marking * factor, LIMITS.typical * factor)
    assert np.array_equal(painted(level), painted(level * factor, scaled))


def test_the_scale_ends_at_its_top() -> None:
    top = LIMITS.typical + TOP * (LIMITS.threshold - LIMITS.typical)
    assert shares(np.array([[LIMITS.marking, top, 100 * top]], np.float32), LIMITS).tolist() == [[0.0, 1.0, 1.0]]
    assert np.array_equal(painted(np.full((2, 2), top, np.float32)), painted(np.full((2, 2), 9 * top, np.float32)))


def test_the_overlay_leaves_the_frame_and_what_is_outside_the_box_alone() -> None:
    image = grey()
    found = overlay(image, np.full((2, 2), 99.0, np.float32), LIMITS, (16, 16, 32, 32), Verdict.NG)
    assert (image == 90).all()
    outside = np.ones((64, 64), bool)
    outside[16:48, 16:48] = False
    assert (found[outside] == 90).all()
    assert (found[~outside] != 90).any()


def test_only_ng_is_outlined() -> None:
    anomaly_map = np.zeros((16, 16), np.float32)
    anomaly_map[5:9, 5:9] = 90.0
    assert white(painted(anomaly_map, verdict=Verdict.NG)).any()
    for verdict in (Verdict.OK, Verdict.ERROR):
        assert not white(painted(anomaly_map, verdict=verdict)).any()


def test_the_outline_runs_round_the_marked_region() -> None:
    anomaly_map = np.zeros((16, 16), np.float32)
    anomaly_map[5:9, 6:11] = 90.0
    rows, columns = np.nonzero(white(painted(anomaly_map, verdict=Verdict.NG)))
    marked_rows, marked_columns = np.nonzero(mark(anomaly_map, LIMITS))
    for edges, marked in ((rows, marked_rows), (columns, marked_columns)):
        assert edges.min() / 4 == pytest.approx(marked.min(), abs=0.75)
        assert (edges.max() + 1) / 4 == pytest.approx(marked.max() + 1, abs=0.75)


def test_every_colour_of_the_ramp_differs_from_every_grey() -> None:
    assert min(max(colour) - min(colour) for colour in RAMP) > 100


def test_the_ramp_grows_lighter_so_that_a_grey_print_keeps_its_order() -> None:
    lightness = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in RAMP]
    assert lightness == sorted(lightness)


def test_the_legend_of_the_page_has_the_colours_of_the_heatmap() -> None:
    assert f"linear-gradient(90deg, {CSS_STOPS})" in STYLE.read_text()


def test_a_class_map_paints_what_speaks_for_a_defect_and_no_part_that_looks_good() -> None:
    picture = np.full((80, 120, 3), 90, np.uint8)
    said = np.full((8, 12), 0.2, np.float32)
    assert np.array_equal(class_overlay(picture, said, (0, 0, 120, 80)), picture)
    said[4, 6] = 1.0
    said[1, 1] = np.nan
    changed = (class_overlay(picture, said, (20, 10, 60, 40)) != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed[10 + 22, 20 + 32]
    assert 10 + 15 <= rows.min() < rows.max() < 10 + 30
    assert 20 + 25 <= columns.min() < columns.max() < 20 + 40
