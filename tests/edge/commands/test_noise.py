"""edge.commands.bench.noise: what is called slower is slower, and what is noise is not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.bench.noise import block_medians, ratio

TIMES = st.lists(st.floats(0.1, 1e3), min_size=1, max_size=60)


@given(values=TIMES, block=st.integers(1, 20))
def test_blocks_hold_every_value_once_and_lie_within_them(values: list[float], block: int) -> None:
    medians = block_medians(values, block)
    assert len(medians) == max(len(values) // block, 1)
    assert min(values) <= min(medians)
    assert max(medians) <= max(values)


@given(values=TIMES, factor=st.floats(0.1, 10))
def test_the_interval_holds_the_ratio_and_follows_the_scale(values: list[float], factor: float) -> None:
    found = ratio([value * factor for value in values], values)
    assert found.low <= found.high
    assert np.isclose(found.value, factor)
    same = ratio(values, values)
    assert np.isclose(found.low / factor, same.low)
    assert np.isclose(found.high / factor, same.high)


def test_two_runs_of_the_same_are_told_apart_about_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(0)
    runs = [ratio(rng.normal(5, 0.5, 30), rng.normal(5, 0.5, 30)) for _ in range(200)]
    assert sum(not one.low <= 1 <= one.high for one in runs) <= 20


def test_a_tenth_slower_is_seen_through_noise_of_a_tenth() -> None:
    rng = np.random.default_rng(0)
    found = ratio(rng.normal(5.5, 0.5, 50), rng.normal(5, 0.5, 50))
    assert found.low > 1
