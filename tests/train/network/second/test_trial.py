"""A trial of opinions is fair: no part is on both sides, and what it counts is the AUROC."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.config import TrainConfig
from train.data.dataset import GOOD, Sample
from train.measure.metrics import image_metrics
from train.network.second.trial import FITTED, SCORED, halves, wins


def photos(parts: list[int]) -> list[Sample]:
    return [Sample(Path(f"{number}.png"), GOOD, None, str(part)) for number, part in enumerate(parts)]


@given(parts=st.lists(st.integers(0, 60), min_size=2, max_size=400), seed=st.integers(0, 5))
def test_no_part_is_on_both_sides_of_a_trial(parts: list[int], seed: int) -> None:
    fitted, scored = halves(photos(parts), TrainConfig(seed=seed))
    assert {sample.part for sample in fitted}.isdisjoint(sample.part for sample in scored)
    assert len(fitted) <= FITTED
    assert len(scored) <= SCORED


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_what_a_trial_counts_is_the_auroc(found: list[tuple[int, int, int]]) -> None:
    scores = np.asarray(found, dtype=np.float64)
    good, bad = scores[:, 0], scores[:, 1:]
    expected = image_metrics([*good, *bad.ravel()], [False] * len(good) + [True] * bad.size).auroc
    assert wins(good, bad).mean() == pytest.approx(expected)
