"""edge.inference.decision: asked from the OK side; what is marked never contradicts the verdict."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.core.types import AnomalyMap, Limits, Prediction, Reason, Verdict
from edge.inference.decision import MAX_REGIONS, decide, defect_words, find_regions, mark

BOX = (0, 0, 64, 64)
FINITE = st.floats(0, 1e6, width=32)
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])
MAPS = hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(0, 100, width=32))
LIMITS = st.builds(
    lambda typical, way, share: Limits(typical + way, (typical + way) * share, typical),
    st.floats(0, 50),
    st.floats(0.1, 50),
    st.floats(0.2, 3.0),
)


def limits(threshold: float) -> Limits:
    return Limits(threshold, threshold, 0.0)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x, y = draw(st.integers(0, 500)), draw(st.integers(0, 500))
    return x, y, draw(st.integers(12, 700)), draw(st.integers(12, 700))


def prediction(score: float, anomaly_map: AnomalyMap | None = None) -> Prediction:
    calm = np.zeros((4, 4), np.float32)
    return Prediction(score, 0.5, calm if anomaly_map is None else anomaly_map, 0.0, 0.0)


@given(score=NOT_FINITE, threshold=FINITE)
def test_a_score_that_is_not_a_number_is_an_error(score: float, threshold: float) -> None:
    decision = decide(prediction(score), limits(threshold), BOX)
    assert (decision.verdict, decision.reason) == (Verdict.ERROR, Reason.INFERENCE_FAILED)


@given(score=FINITE, threshold=NOT_FINITE)
def test_a_threshold_that_is_not_a_number_is_an_error(score: float, threshold: float) -> None:
    assert decide(prediction(score), limits(threshold), BOX).verdict is Verdict.ERROR


@given(score=FINITE, bad=NOT_FINITE, at=st.integers(0, 15))
def test_one_cell_of_the_map_that_is_not_a_number_is_an_error(score: float, bad: float, at: int) -> None:
    anomaly_map = np.zeros((4, 4), np.float32)
    anomaly_map.flat[at] = bad
    assert decide(prediction(score, anomaly_map), limits(50.0), BOX).verdict is Verdict.ERROR


@given(score=FINITE, threshold=FINITE)
def test_ok_is_exactly_below_the_threshold(score: float, threshold: float) -> None:
    expected = Verdict.OK if score < threshold else Verdict.NG
    assert decide(prediction(score), limits(threshold), BOX).verdict is expected


@given(scores=st.tuples(FINITE, FINITE), threshold=FINITE)
def test_a_more_anomalous_part_is_never_judged_better(scores: tuple[float, float], threshold: float) -> None:
    lower, higher = sorted(scores)
    if decide(prediction(higher), limits(threshold), BOX).verdict is Verdict.OK:
        assert decide(prediction(lower), limits(threshold), BOX).verdict is Verdict.OK


@given(anomaly_map=MAPS, chosen=LIMITS, score=st.floats(0, 200), box=boxes())
def test_ok_marks_nothing_and_ng_marks_first_what_made_it_ng(
    anomaly_map: AnomalyMap, chosen: Limits, score: float, box: tuple[int, int, int, int]
) -> None:
    decision = decide(prediction(score, anomaly_map), chosen, box)
    assert bool(decision.regions) == (decision.verdict is Verdict.NG)
    if decision.verdict is Verdict.NG:
        assert decision.regions[0].peak == anomaly_map.max()


@given(anomaly_map=MAPS, chosen=LIMITS, box=boxes())
def test_regions_lie_inside_the_box_in_frame_pixels(
    anomaly_map: AnomalyMap, chosen: Limits, box: tuple[int, int, int, int]
) -> None:
    x, y, width, height = box
    for region in find_regions(anomaly_map, chosen, box):
        assert x <= region.x < region.x + region.w <= x + width
        assert y <= region.y < region.y + region.h <= y + height
        assert 1 <= region.area_px <= (region.w + 1) * (region.h + 1)
        assert region.label == "anomaly"


@given(anomaly_map=MAPS, chosen=LIMITS)
def test_regions_come_strongest_first_and_are_what_is_marked(anomaly_map: AnomalyMap, chosen: Limits) -> None:
    regions, labels = find_regions(anomaly_map, chosen, BOX), mark(anomaly_map, chosen)
    peaks = [region.peak for region in regions]
    assert peaks == sorted(peaks, reverse=True)
    assert 1 <= len(peaks) == labels.max() <= MAX_REGIONS
    assert peaks == [anomaly_map[labels == number].max() for number in range(1, len(peaks) + 1)]


@given(anomaly_map=MAPS, chosen=LIMITS)
def test_nothing_below_the_marking_value_is_marked_but_round_the_peak(anomaly_map: AnomalyMap, chosen: Limits) -> None:
    labels = mark(anomaly_map, chosen)
    assert anomaly_map[labels > 0].min() >= min(chosen.marking, anomaly_map.max())


@given(anomaly_map=MAPS, chosen=LIMITS)
def test_a_further_region_is_never_a_place_that_alone_would_pass(anomaly_map: AnomalyMap, chosen: Limits) -> None:
    peak = anomaly_map.max()
    for region in find_regions(anomaly_map, chosen, BOX)[1:]:
        assert region.peak >= chosen.threshold or region.peak == peak


def test_two_spots_are_two_regions_where_they_are() -> None:
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[1:3, 2:5] = 60.0
    anomaly_map[6, 6:8] = 80.0
    near_corner, wide = find_regions(anomaly_map, limits(50.0), (100, 200, 80, 160))
    assert (near_corner.x, near_corner.y, near_corner.w, near_corner.h) == (160, 320, 20, 20)
    assert (wide.x, wide.y, wide.w, wide.h, wide.area_px) == (120, 220, 30, 40, 30 * 40)


def test_a_speck_beside_a_defect_is_not_marked() -> None:
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[4:9, 4:9] = 300.0
    anomaly_map[17, 17] = 52.0  # just over the threshold, a sixth of the defect
    assert len(find_regions(anomaly_map, limits(50.0), BOX)) == 1


def test_a_weaker_defect_beside_a_strong_one_is_marked_too() -> None:
    anomaly_map = np.zeros((20, 20), np.float32)
    anomaly_map[4:9, 4:9] = 200.0
    anomaly_map[14:17, 14:17] = 80.0
    assert [region.peak for region in find_regions(anomaly_map, limits(50.0), BOX)] == [200.0, 80.0]


def test_a_region_ends_where_the_map_has_fallen_well_below_its_peak() -> None:
    """A blurred spot is marked about as wide as the spot is, not down to where good parts begin."""
    x = np.arange(-20, 21)
    blurred = 100.0 * np.exp(-(x[None] ** 2 + x[:, None] ** 2) / (2 * 5.0**2)).astype(np.float32)
    region = find_regions(blurred, Limits(20.0, 15.0, 10.0), (0, 0, 41, 41))[0]
    assert 8 <= region.w <= 12


def test_an_ng_part_whose_map_stays_below_the_marking_value_is_marked_at_its_peak() -> None:
    anomaly_map = np.zeros((8, 8), np.float32)
    anomaly_map[2, 3] = 40.0
    (region,) = find_regions(anomaly_map, Limits(30.0, 60.0, 0.0), BOX)
    assert (region.x, region.y, region.peak) == (24, 16, 40.0)


def test_speckles_beyond_the_limit_drop_the_weakest() -> None:
    anomaly_map = np.zeros((40, 60), np.float32)
    for index in range(100):
        row, column = divmod(index, 10)
        anomaly_map[4 * row : 4 * row + 2, 6 * column : 6 * column + 2] = 50.0 + index
    regions = find_regions(anomaly_map, limits(50.0), (0, 0, 200, 200))
    assert [region.peak for region in regions] == [149.0 - i for i in range(MAX_REGIONS)]


@pytest.mark.parametrize(("defect_type", "label"), [("crack", "crack"), ("", "anomaly")])
def test_a_region_is_named_by_the_likeliest_type(defect_type: str, label: str) -> None:
    hot = np.full((4, 4), 9.0, np.float32)
    decision = decide(Prediction(9.0, 0.9, hot, 0.0, 0.0, defect_type), limits(1.0), BOX)
    assert [region.label for region in decision.regions] == [label]


def test_the_distance_is_0_at_a_typical_good_part_and_1_at_the_threshold() -> None:
    chosen = Limits(0.5, 0.6, 0.3)
    assert (chosen.distance(0.3), chosen.distance(0.5)) == (0.0, 1.0)
    assert chosen.distance(0.2) < 0


def test_the_words_count_the_areas_and_name_the_type() -> None:
    hot = np.full((4, 4), 9.0, np.float32)
    found = decide(Prediction(9.0, 0.9, hot, 0.0, 0.0, "crack"), limits(1.0), BOX)
    assert found.words == defect_words(found.regions) == "Defect found: crack, 1 marked area."
    assert decide(prediction(0.5), limits(1.0), BOX).words == "No defect found."
