from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Reason, Region, Verdict
from edge.web.station import ALIVE, EngineState
from edge.web.wording.verdicts import ENGINE_WORDS, ERRORS, duration, percent, verdict_words


@pytest.mark.parametrize("reason", Reason)
def test_every_error_says_what_it_is_and_what_to_do(reason: Reason) -> None:
    words = verdict_words(Verdict.ERROR, reason)
    assert (words.kind, words.headline) == ("error", "ERROR")
    assert words.what
    assert words.action


def test_every_reason_has_words_of_its_own() -> None:
    assert set(ERRORS) == set(Reason)
    assert len({what for what, _ in ERRORS.values()}) == len(Reason)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([], "Defect found."),
        (["anomaly"], "Defect found: 1 marked area."),
        (["crack", "crack"], "Defect found: crack, 2 marked areas."),
    ],
)
def test_a_defect_is_named_where_the_bundle_knows_its_type(labels: list[str], said: str) -> None:
    regions = [Region(0, 0, 1, 1, 1, 1.0, label) for label in labels]
    assert verdict_words(Verdict.NG, Reason.SCORE, regions).what == said


def test_every_engine_state_but_running_has_words_that_are_no_verdict() -> None:
    assert set(ENGINE_WORDS) == set(EngineState) - {EngineState.RUNNING}
    for state, words in ENGINE_WORDS.items():
        assert words.headline not in set(Verdict)
        assert (words.kind == "none") == (state not in ALIVE)


@given(st.floats(0, 1))
def test_a_probability_is_never_shown_as_certain(share: float) -> None:
    assert percent(share) not in {"0.0 %", "100.0 %"}


@given(st.integers(0, 10**9))
def test_a_duration_has_at_most_two_units(seconds: int) -> None:
    words = duration(seconds).split()
    assert len(words) in {2, 4}
    assert set(words[1::2]) <= {"s", "min", "h", "d"}


@pytest.mark.parametrize(("seconds", "text"), [(59, "59 s"), (60, "1 min"), (3660, "1 h 01 min"), (90000, "1 d 1 h")])
def test_durations_read_as_people_say_them(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_a_part_whose_verdict_is_not_known_is_looked_for() -> None:
    words = verdict_words(Verdict.ERROR, Reason.ENGINE_DIED)
    assert "may have let the part pass" in words.action
