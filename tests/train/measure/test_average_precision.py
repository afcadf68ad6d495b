"""train.measure.average_precision and box_limits: a toy case that is worked out by hand; limits that goods set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Located
from train.measure.average_precision import mean_average_precision
from train.measure.box_limits import limits_of_types

TYPES = ("a", "b")


def box(x: float, score: float, label: str = "a", width: float = 10.0) -> Located:
    return Located(x, 0.0, x + width, 10.0, score, label)


def test_average_precision_on_a_toy_case_is_what_one_works_out_by_hand() -> None:
    """Two photos, three wanted boxes of type a, one of type b.

    Type a, by score: .9 is right (precision 1, recall 1/3), .8 is a false one (1/2), .7 is right (2/3 at recall 2/3),
    the third is missed. Interpolated over the 101 recalls 0, .01 ... 1: 34 of them (0 to .33) at 1, 33 (.34 to .66) at
    2/3, and 34 at 0: (34 + 22) / 101. Type b: found, but at an overlap of .6: right at .5, .55 and .6 of ten overlaps.
    """
    wanted = [
        [(0.0, 0.0, 10.0, 10.0, "a"), (100.0, 0.0, 110.0, 10.0, "a")],
        [(0.0, 0.0, 10.0, 10.0, "a"), (50.0, 0.0, 60.0, 10.0, "b")],
    ]
    found = [[box(0, 0.9), box(40, 0.8)], [box(0, 0.7), box(50, 0.5, "b", 6.0)]]
    facts = mean_average_precision(found, wanted, TYPES)
    of_a = (34 + 33 * 2 / 3) / 101
    assert (facts["photos"], facts["boxes"]) == (2, 4)
    assert facts["per_type"]["a"]["ap_50"] == pytest.approx(of_a)
    assert facts["per_type"]["b"]["ap_50"] == pytest.approx(1.0)
    assert facts["per_type"]["b"]["ap_50_95"] == pytest.approx(0.3)
    assert facts["map_50"] == pytest.approx((of_a + 1) / 2)
    assert facts["map_50_95"] == pytest.approx((of_a + 0.3) / 2)


def test_a_box_of_the_wrong_type_is_not_found() -> None:
    facts = mean_average_precision([[box(0, 0.9, "b")]], [[(0.0, 0.0, 10.0, 10.0, "a")]], TYPES)
    assert facts["map_50"] == 0.0
    assert facts["per_type"]["b"]["ap_50"] is None


def test_a_false_box_on_a_good_photo_costs_precision() -> None:
    wanted = [[(0.0, 0.0, 10.0, 10.0, "a")], []]
    clean = mean_average_precision([[box(0, 0.5)], []], wanted, TYPES)
    false = mean_average_precision([[box(0, 0.5)], [box(0, 0.9)]], wanted, TYPES)
    assert (clean["map_50"], false["map_50"]) == (pytest.approx(1.0), pytest.approx(0.5))


def test_a_model_that_finds_nothing_has_no_precision() -> None:
    assert mean_average_precision([[]], [[(0.0, 0.0, 10.0, 10.0, "a")]], TYPES)["map_50"] == 0.0


GOODS = st.lists(
    st.lists(st.tuples(st.floats(0.05, 3), st.sampled_from(TYPES)), min_size=1, max_size=5), min_size=8, max_size=30
)


@given(GOODS, st.floats(0.3, 3.0))
@settings(max_examples=30)
def test_limits_follow_the_scale_of_the_scores(goods: list[list[tuple[float, str]]], scale: float) -> None:
    ordered = [sorted((box(0, *one) for one in boxes), key=lambda one: -one.score) for boxes in goods]
    if len({boxes[0].score for boxes in ordered}) < 4:
        return
    parts = [str(number) for number in range(len(ordered))]
    facts, threshold = limits_of_types(ordered, TYPES, parts, 0.01, 0)
    larger = [[box(0, one.score * scale, one.label) for one in boxes] for boxes in ordered]
    scaled, _ = limits_of_types(larger, TYPES, parts, 0.01, 0)
    assert scaled.limits == pytest.approx([limit * scale for limit in facts.limits])
    assert (threshold.value, threshold.bound, threshold.n) == (1.0, None, len(goods))


def test_a_type_that_goods_show_asks_for_more_and_one_they_never_show_for_what_is_usual() -> None:
    rng = np.random.default_rng(0)
    goods = [[box(0, 0.5 + 0.1 * rng.random(), "a")] for _ in range(20)]
    goods[3] = [box(0, 0.9, "a")]
    facts, _ = limits_of_types(goods, TYPES, [str(number) for number in range(20)], 0.01, 0)
    assert facts.limits[0] > 0.9
    assert facts.limits[0] / facts.limits[1] == pytest.approx(0.9 / np.median([one[0].score for one in goods]))


def test_a_good_part_far_beyond_the_rest_sets_no_limit_where_one_may_be_left_out() -> None:
    goods = [[box(0, 0.5 + 0.002 * number, "a")] for number in range(20)]
    goods[3] = [box(0, 50.0, "a")]
    parts = [str(number) for number in range(20)]
    with_all, without = (limits_of_types(goods, TYPES, parts, 0.01, odd)[0].limits[0] for odd in (0, 1))
    assert without < 1.0 < with_all
