import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.data.parts import far_beyond, spared

CALM = [1.0 + 0.01 * index for index in range(20)]


def test_a_score_far_beyond_the_rest_is_told_and_ordinary_ones_are_not() -> None:
    assert not far_beyond(CALM).any()
    assert far_beyond([*CALM, 3.0]).tolist() == [False] * 20 + [True]


def test_scores_that_hardly_differ_have_no_outlier_below_half_as_much_again() -> None:
    assert not far_beyond([1.0] * 20 + [1.4]).any()
    assert far_beyond([1.0] * 20 + [1.6])[-1]


@given(st.lists(st.floats(0.1, 10.0), min_size=4, max_size=30), st.integers(0, 3))
def test_the_same_parts_are_spared_in_any_order_and_no_more_than_allowed(scores: list[float], most: int) -> None:
    scores = list(dict.fromkeys(scores))
    parts = [str(index) for index in range(len(scores))]
    order = np.random.default_rng(len(scores)).permutation(len(scores))
    found = spared(scores, parts, most)
    assert found == spared([scores[one] for one in order], [parts[one] for one in order], most)
    assert len(found) <= most


def test_the_farthest_part_is_spared_first_with_all_of_its_photographs() -> None:
    scores, parts = [*CALM, 3.0, 4.0, 5.0], [*map(str, range(20)), "a", "b", "b"]
    assert spared(scores, parts, 1) == {"b"}
    assert spared(scores, parts, 2) == {"a", "b"}
