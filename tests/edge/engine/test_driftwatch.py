"""The drift watch of a station: goes on after a restart, keeps an alarm, starts afresh with another bundle."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.core.types import Inspection, Verdict
from edge.engine import driftwatch
from edge.engine.driftwatch import DriftWatch
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle, write_bundle
from tests.edge.engine.parts import inspection
from tests.tiny import THRESHOLD

T0 = datetime(2026, 1, 1, tzinfo=UTC)
GOODS = [float(score) for score in range(1, 50)]


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


def test_a_new_round_begins_after_so_many_parts(
    watched: Bundle, events: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driftwatch, "ROUND", 10)
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
