"""edge.engine.drift: few false alarms when nothing drifts, an alarm when something does; a restart changes nothing."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.config.station import StorageConfig
from edge.core.types import Inspection, Verdict
from edge.engine import drift
from edge.engine.drift import MIN_HOLDOUT, Alarm, DriftTest, DriftWatch
from edge.engine.recorder import Recorder
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle, write_bundle
from tests.edge.engine.parts import inspection
from tests.tiny import THRESHOLD

T0 = datetime(2026, 1, 1, tzinfo=UTC)
GOODS = [float(score) for score in range(1, 50)]
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


def with_goods(bundle: Bundle, folder: Path, goods: list[float]) -> Bundle:
    facts = bundle.manifest.model_dump(mode="json", exclude={"format", "files"}) | {"holdout_scores": goods}
    return write_bundle(folder, facts, {name: bundle.file(name) for name in bundle.manifest.files})


@pytest.fixture
def watched(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return with_goods(tiny_bundle, tmp_path / "bundle", GOODS)


@pytest.fixture
def events(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.db")
    yield log
    log.close()


def part(bundle: Bundle, number: int, score: float) -> Inspection:
    row = inspection(number, verdict=Verdict.OK if score < THRESHOLD else Verdict.NG)
    at = T0 + timedelta(seconds=number)
    return replace(row, at=at, score=score, bundle=bundle.title, bundle_digest=bundle.digest)


def inspect(watch: DriftWatch, events: EventLog, bundle: Bundle, scores: list[float]) -> None:
    for score in scores:
        row = part(bundle, events.last_id() + 1, score)
        events.append(row)
        watch.add(row)


def test_without_held_out_scores_it_says_that_nothing_is_watched(
    tiny_bundle: Bundle, events: EventLog, tmp_path: Path
) -> None:
    watch = DriftWatch(tiny_bundle, events, tmp_path)
    inspect(watch, events, tiny_bundle, [49.0] * 200)
    assert not watch.report().alarm
    assert "not watched" in watch.report().detail
    assert not list(tmp_path.glob("drift-*"))


def test_parts_like_the_held_out_ones_raise_no_alarm_and_ng_parts_do_not_count(
    watched: Bundle, events: EventLog, tmp_path: Path
) -> None:
    watch = DriftWatch(watched, events, tmp_path)
    inspect(watch, events, watched, [GOODS[(7 * n) % len(GOODS)] for n in range(98)] + [THRESHOLD + 1] * 50)
    assert (watch.report().alarm, watch.report().parts, watch.report().detail) == (False, 98, "")


def test_an_alarm_says_since_when_and_in_which_direction_and_stays(
    watched: Bundle, events: EventLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    watch = DriftWatch(watched, events, tmp_path)
    calm = [GOODS[(7 * n) % len(GOODS)] for n in range(98)]
    inspect(watch, events, watched, calm + [45.5] * 60)
    report = watch.report()
    assert report.alarm
    assert report.since is not None
    assert T0 + timedelta(seconds=80) <= report.since <= T0 + timedelta(seconds=110)
    assert "higher" in report.detail
    assert "no longer promised" in report.detail
    inspect(watch, events, watched, calm)
    again = DriftWatch(watched, events, tmp_path)
    assert again.report().alarm
    assert again.report().since == report.since
    assert [record.message for record in caplog.records].count(f"drift: {report.detail}") == len(caplog.records) == 1


def test_a_restart_at_any_part_changes_nothing(watched: Bundle, events: EventLog, tmp_path: Path) -> None:
    """The second watch reads the parts of the round from the history, also those that were never counted."""
    scores = [GOODS[(11 * n) % 49] for n in range(40)]
    first = DriftWatch(watched, events, tmp_path / "first")
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    second = DriftWatch(watched, events, tmp_path / "second")
    inspect(second, events, watched, scores[:1])
    for row in events.recent(1):
        first.add(row)
    for score in scores[1:]:
        row = part(watched, events.last_id() + 1, score)
        events.append(row)
        first.add(row)
    resumed = DriftWatch(watched, events, tmp_path / "second")
    assert resumed.report() == first.report()
    assert vars(resumed._test) == vars(first._test)


def test_another_bundle_starts_afresh_and_the_first_one_goes_on_later(
    tiny_bundle: Bundle, watched: Bundle, events: EventLog, tmp_path: Path
) -> None:
    inspect(DriftWatch(watched, events, tmp_path), events, watched, [48.5] * 100)
    other = with_goods(tiny_bundle, tmp_path / "other", [score / 2 for score in GOODS])
    assert DriftWatch(watched, events, tmp_path).report().alarm
    watch = DriftWatch(other, events, tmp_path)
    assert (watch.report().alarm, watch.report().parts) == (False, 0)
    inspect(watch, events, other, GOODS[:5])
    assert DriftWatch(watched, events, tmp_path).report().alarm
    assert DriftWatch(other, events, tmp_path).report().parts == 5


def test_a_watch_hands_over_to_the_one_of_another_bundle(
    tiny_bundle: Bundle, watched: Bundle, events: EventLog, tmp_path: Path
) -> None:
    watch = DriftWatch(watched, events, tmp_path)
    assert watch.of(watched) is watch
    assert watch.of(tiny_bundle).digest == tiny_bundle.digest


def test_the_recorder_counts_each_part_once_when_the_first_bundle_judges_again(
    tiny_bundle: Bundle, watched: Bundle, events: EventLog, tmp_path: Path
) -> None:
    recorder = Recorder(events, tmp_path / "images", tmp_path, StorageConfig(), DriftWatch(watched, events, tmp_path))
    for number, bundle in enumerate([watched] * 3 + [tiny_bundle] * 2 + [watched] * 4, start=1):
        recorder.put(part(bundle, number, float(number)), bundle)
    recorder.start()
    recorder.stop()
    recorded = recorder.drift(watched)
    assert recorded is not None
    assert recorded.parts == 7
    assert recorded == DriftWatch(watched, events, tmp_path).report()


def test_a_new_round_begins_after_so_many_parts(
    watched: Bundle, events: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "ROUND", 10)
    watch = DriftWatch(watched, events, tmp_path)
    inspect(watch, events, watched, GOODS[:23])
    assert watch.report().parts == 3
    assert DriftWatch(watched, events, tmp_path).report().parts == 3


def test_the_state_of_another_history_or_a_damaged_one_is_not_taken(
    watched: Bundle, events: EventLog, tmp_path: Path
) -> None:
    inspect(DriftWatch(watched, events, tmp_path), events, watched, [48.5] * 100)
    fresh = EventLog(tmp_path / "fresh.db")
    assert not DriftWatch(watched, fresh, tmp_path).report().alarm
    fresh.close()
    next(tmp_path.glob("drift-*.json")).write_text('{"alarm": ')
    assert not DriftWatch(watched, events, tmp_path).report().alarm


def test_a_state_that_cannot_be_kept_is_an_os_error_and_tried_again(
    watched: Bundle, events: EventLog, tmp_path: Path
) -> None:
    folder = tmp_path / "not there yet"
    watch = DriftWatch(watched, events, folder)
    row = part(watched, 1, 5.0)
    events.append(row)
    with pytest.raises(OSError, match="not there yet"):
        watch.add(row)
    folder.mkdir()
    inspect(watch, events, watched, [6.0])
    assert watch.report().parts == 2
    assert len(list(folder.iterdir())) == 1
