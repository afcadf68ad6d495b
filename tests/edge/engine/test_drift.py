"""The drift test keeps its promise: few false alarms when nothing drifts, an alarm when something does."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.engine import drift
from edge.engine.drift import MIN_HOLDOUT, Alarm, DriftTest

T0 = datetime(2026, 1, 1, tzinfo=UTC)
HOLDOUT = 99
Scores = NDArray[np.float64]


def draw(rng: np.random.Generator, size: int, step: float) -> Scores:
    """Scores of good parts; with a step, rounded to it, so that many are equal."""
    scores = rng.lognormal(3.0, 0.3, size)
    return np.round(scores / step) * step if step else scores


def first_alarm(holdout: Scores, scores: Scores, seed: str = "s") -> Alarm | None:
    """The threshold is the highest held-out score, as a conformal one of 99 parts at 1 % is."""
    threshold = float(holdout.max())
    test = DriftTest(holdout.tolist(), threshold, seed)
    for number, score in enumerate(scores[scores < threshold].tolist(), start=1):
        alarm = test.add(number, T0 + timedelta(seconds=number), score)
        if alarm:
            return alarm
    return None


@pytest.mark.parametrize(("step", "sequences"), [(0.0, 2500), (4.0, 1200)])
def test_no_more_false_alarms_than_stated(monkeypatch: pytest.MonkeyPatch, step: float, sequences: int) -> None:
    """At 5 %, because 0.1 % of some thousand sequences could not be told from 1 %; 3 standard errors of room."""
    rate = 0.05
    monkeypatch.setattr(drift, "FALSE_ALARM", rate)
    rng = np.random.default_rng(7)
    alarms = sum(
        first_alarm(draw(rng, HOLDOUT, step), draw(rng, 250, step), str(n)) is not None for n in range(sequences)
    )
    assert alarms <= rate * sequences + 3 * (rate * (1 - rate) * sequences) ** 0.5
    assert alarms > 0, "a test that never alarms would pass, too"


@pytest.mark.parametrize(("factor", "higher"), [(1.35, True), (0.75, False)])
def test_a_shift_is_found_and_dated(factor: float, higher: bool) -> None:
    rng = np.random.default_rng(11)
    begin, found = 400, []
    for _ in range(40):
        scores = draw(rng, 1200, 0.0)
        scores[begin:] *= factor
        alarm = first_alarm(draw(rng, HOLDOUT, 0.0), scores)
        if alarm is not None:
            found.append(alarm)
    assert len(found) >= 38
    assert {alarm.higher for alarm in found} == {higher}
    assert np.median([alarm.noticed_id - begin for alarm in found]) < 120
    assert abs(np.median([alarm.since_id - begin for alarm in found])) < 60
    assert all(alarm.since == T0 + timedelta(seconds=alarm.since_id) for alarm in found)


def test_a_shift_that_was_there_from_the_first_part_is_found() -> None:
    rng = np.random.default_rng(12)
    alarms = [first_alarm(draw(rng, HOLDOUT, 0.0), 1.4 * draw(rng, 600, 0.0)) for _ in range(20)]
    assert sum(alarm is not None for alarm in alarms) >= 18


@given(st.lists(st.floats(0, 49), max_size=60), st.integers(0, 60))
def test_the_same_parts_give_the_same_answer_whenever_the_engine_was_restarted(scores: list[float], cut: int) -> None:
    """What a restart does is to add the round's parts again, from the history."""

    def end(pieces: list[list[float]]) -> tuple[Alarm | None, float]:
        test, alarm, number = DriftTest([float(n) for n in range(40)], 50.0, "seed"), None, 0
        for piece in pieces:
            for score in piece:
                number += 1
                alarm = alarm or test.add(number, T0, score)
        return alarm, test._log_stake

    assert end([scores]) == end([scores[:cut], scores[cut:]])


@given(st.permutations(list(range(30))), st.floats(0.1, 10), st.floats(-5, 5))
def test_only_the_order_of_scores_counts(order: list[int], factor: float, offset: float) -> None:
    """Any scale of the scores gives the same stake: nothing is assumed of their distribution."""
    holdout = [n + 0.5 for n in range(30)]
    stakes = []
    for scale, shift in ((1.0, 0.0), (factor, offset)):
        test = DriftTest([scale * s + shift for s in holdout], scale * 31 + shift, "seed")
        for number, score in enumerate(order):
            test.add(number, T0, scale * score + shift)
        stakes.append(test._log_stake)
    assert stakes[0] == pytest.approx(stakes[1], abs=1e-9)


def test_held_out_parts_that_are_over_the_threshold_do_not_count_and_too_few_are_not_enough() -> None:
    assert DriftTest([1.0] * MIN_HOLDOUT, 2.0, "s").possible
    assert not DriftTest([1.0] * (MIN_HOLDOUT - 1) + [2.0] * 50, 2.0, "s").possible


def test_a_new_round_starts_with_a_stake_of_one() -> None:
    test, fresh = (DriftTest([float(n) for n in range(40)], 50.0, "seed") for _ in range(2))
    for number in range(300):
        test.add(number, T0, float(number % 40))
    test.start_round()
    assert vars(test) == vars(fresh)
