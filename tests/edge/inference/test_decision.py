"""edge.inference.decision: asked from the OK side; regions and colours that mean the same on every image."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.core.types import AnomalyMap, Prediction, Reason, Verdict
from edge.inference.decision import HEATMAP_TOP, MAX_REGIONS, decide, find_regions, overlay

BOX = (0, 0, 64, 64)
FINITE = st.floats(0, 1e6, width=32)
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])
MAPS = hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 100, width=32))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x, y = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    return x, y, draw(st.integers(12, 700)), draw(st.integers(12, 700))


def prediction(score: float, anomaly_map: AnomalyMap | None = None) -> Prediction:
    calm = np.zeros((4, 4), np.float32)
    return Prediction(score, 0.5, calm if anomaly_map is None else anomaly_map, 0.0, 0.0)


@given(score=NOT_FINITE, threshold=FINITE)
def test_a_score_that_is_not_a_number_is_an_error(score: float, threshold: float) -> None:
    decision = decide(prediction(score), threshold, BOX)
    assert (decision.verdict, decision.reason) == (Verdict.ERROR, Reason.INFERENCE_FAILED)


@given(score=FINITE, threshold=NOT_FINITE)
def test_a_threshold_that_is_not_a_number_is_an_error(score: float, threshold: float) -> None:
    assert decide(prediction(score), threshold, BOX).verdict is Verdict.ERROR


@given(score=FINITE, bad=NOT_FINITE, at=st.integers(0, 15))
def test_one_cell_of_the_map_that_is_not_a_number_is_an_error(score: float, bad: float, at: int) -> None:
    anomaly_map = np.zeros((4, 4), np.float32)
    anomaly_map.flat[at] = bad
    assert decide(prediction(score, anomaly_map), 50.0, BOX).verdict is Verdict.ERROR


@given(score=FINITE, threshold=FINITE)
def test_ok_is_exactly_below_the_threshold(score: float, threshold: float) -> None:
    expected = Verdict.OK if score < threshold else Verdict.NG
    assert decide(prediction(score), threshold, BOX).verdict is expected


@given(scores=st.tuples(FINITE, FINITE), threshold=FINITE)
def test_a_more_anomalous_part_is_never_judged_better(scores: tuple[float, float], threshold: float) -> None:
    lower, higher = sorted(scores)
    if decide(prediction(higher), threshold, BOX).verdict is Verdict.OK:
        assert decide(prediction(lower), threshold, BOX).verdict is Verdict.OK


@given(anomaly_map=MAPS, box=boxes())
def test_regions_lie_inside_the_box_in_frame_pixels(anomaly_map: AnomalyMap, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    for region in find_regions(anomaly_map, 50.0, box):
        assert x <= region.x < region.x + region.w <= x + width
        assert y <= region.y < region.y + region.h <= y + height
        assert 0 <= region.area_px <= (region.w + 1) * (region.h + 1)
        assert region.label == "anomaly"


@given(anomaly_map=MAPS)
def test_the_strongest_region_comes_first_with_the_maps_peak(anomaly_map: AnomalyMap) -> None:
    peaks = [region.peak for region in find_regions(anomaly_map, 50.0, BOX)]
    assert peaks == sorted(peaks, reverse=True)
    assert len(peaks) <= MAX_REGIONS
    assert bool(peaks) == bool((anomaly_map >= 50.0).any())
    if peaks:
        assert peaks[0] == anomaly_map.max()


def test_two_spots_are_two_regions_where_they_are() -> None:
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[1:3, 2:5] = 60.0
    anomaly_map[6, 7] = 80.0
    near_corner, wide = find_regions(anomaly_map, 50.0, (100, 200, 80, 160))
    assert (near_corner.x, near_corner.y, near_corner.w, near_corner.h) == (170, 320, 10, 20)
    assert (wide.x, wide.y, wide.w, wide.h, wide.area_px) == (120, 220, 30, 40, 30 * 40)


def test_the_threshold_itself_belongs_to_the_region() -> None:
    anomaly_map = np.full((2, 2), 50.0, np.float32)
    assert len(find_regions(anomaly_map, 50.0, BOX)) == 1


def test_speckles_beyond_the_limit_drop_the_weakest() -> None:
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[::2, ::2] = 50.0 + np.arange(100, dtype=np.float32).reshape(10, 10)
    regions = find_regions(anomaly_map, 50.0, (0, 0, 200, 200))
    assert [region.peak for region in regions] == [149.0 - i for i in range(MAX_REGIONS)]


@pytest.mark.parametrize("neighbour", [0.0, 5.0, 39.0])
def test_a_colour_depends_only_on_value_and_threshold(neighbour: float) -> None:
    """Per-image scaling would repaint the left half when the right half changes."""
    image = np.full((64, 64, 3), 90, np.uint8)
    anomaly_map = np.full((8, 8), 20.0, np.float32)
    alone = overlay(image, anomaly_map, 40.0, BOX)
    anomaly_map[:, 5:] = neighbour
    assert np.array_equal(overlay(image, anomaly_map, 40.0, BOX)[:, :24], alone[:, :24])


@given(value=st.floats(0, 79, width=32), factor=st.sampled_from([0.5, 2.0, 4.0]))
def test_the_scale_is_tied_to_the_threshold(value: float, factor: float) -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    level = np.full((2, 2), value, np.float32)
    box = (0, 0, 16, 16)
    assert np.array_equal(overlay(image, level, 40.0, box), overlay(image, level * factor, 40.0 * factor, box))


def test_the_scale_ends_at_its_top() -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    top, beyond = (np.full((2, 2), HEATMAP_TOP * 40.0 * k, np.float32) for k in (1.0, 100.0))
    box = (0, 0, 16, 16)
    assert np.array_equal(overlay(image, top, 40.0, box), overlay(image, beyond, 40.0, box))


def test_the_overlay_leaves_the_frame_and_what_is_outside_the_box_alone() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    painted = overlay(image, np.full((2, 2), 99.0, np.float32), 40.0, (16, 16, 32, 32))
    assert (image == 90).all()
    outside = np.ones((64, 64), bool)
    outside[16:48, 16:48] = False
    assert (painted[outside] == 90).all()
    assert (painted[~outside] != 90).any()


def test_an_anomaly_is_outlined() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    anomaly_map = np.zeros((8, 8), np.float32)
    assert not (overlay(image, anomaly_map, 40.0, BOX) == 255).all(axis=2).any()
    anomaly_map[3:5, 3:5] = 60.0
    assert (overlay(image, anomaly_map, 40.0, BOX) == 255).all(axis=2).any()


@pytest.mark.parametrize(("defect_type", "label"), [("crack", "crack"), ("", "anomaly")])
def test_a_region_is_named_by_the_likeliest_type(defect_type: str, label: str) -> None:
    hot = np.full((4, 4), 9.0, np.float32)
    decision = decide(Prediction(9.0, 0.9, hot, 0.0, 0.0, defect_type), 1.0, BOX)
    assert [region.label for region in decision.regions] == [label]
