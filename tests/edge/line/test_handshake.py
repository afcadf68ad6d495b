"""The laws of the handshake, on any order of what PLC and station may do."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.core.types import Reason, Verdict
from edge.line.handshake import NONE, VERDICTS, Handshake, Write
from tests.edge.engine.parts import inspection

OK = VERDICTS[Verdict.OK]
ERROR = VERDICTS[Verdict.ERROR]


def running() -> Handshake:
    station = Handshake()
    station.accept()
    return station


class Line(RuleBasedStateMachine):
    """A PLC that may do anything at any time, and a station that judges what it accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.station = running()
        self.trigger = self.ack = False
        self.judging = False
        self.accepted = self.refused = self.results = 0

    @rule(level=st.booleans())
    def write_trigger(self, level: bool) -> None:
        rising, was_ready = level and not self.trigger, self.station.signals().ready
        self.trigger = level
        edge = self.station.trigger(level)
        assert edge is (Write.NONE if not rising else Write.WANTED if was_ready else Write.REFUSED)
        if edge is Write.WANTED:
            self.station.begin()
            self.accepted += 1
            self.judging = True
            assert self.station.signals().trigger_ack
            assert not self.station.signals().overrun, "an accepted trigger clears the bit"
        elif edge is Write.REFUSED:
            self.refused += 1
            assert self.station.signals().overrun, "told at once"

    @rule(level=st.booleans())
    def write_ack(self, level: bool) -> None:
        was_valid, rising = self.station.signals().results_valid, level and not self.ack
        self.ack = level
        self.station.results_ack(level)
        assert self.station.signals().results_valid == (was_valid and not rising)

    @precondition(lambda self: not self.judging)
    @rule()
    def trigger_elsewhere(self) -> None:
        self.station.begin()
        self.accepted += 1
        self.judging = True
        found = self.station.signals()
        assert (found.trigger_ack, found.release, found.overrun) == (False, False, False)

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.station.hold(held)
        assert not (held and self.station.signals().ready)

    @precondition(lambda self: self.judging)
    @rule(verdict=st.sampled_from(Verdict))
    def judge(self, verdict: Verdict) -> None:
        self.results += 1
        self.station.result(inspection(self.results, verdict=verdict))
        found = self.station.signals()
        assert (found.results_valid, found.sequence, found.verdict) == (True, self.results, VERDICTS[verdict])
        self.station.accept()
        self.judging = False

    @rule()
    def fault(self) -> None:
        self.station.safe()
        assert not self.station.signals().release

    @invariant()
    def exactly_one_result_for_each_accepted_trigger(self) -> None:
        assert self.accepted == self.results + self.judging
        assert self.station.signals().overruns == self.refused

    @invariant()
    def signals_agree_with_each_other(self) -> None:
        found = self.station.signals()
        assert found.busy == self.judging
        assert not (found.ready and (found.busy or found.results_valid or self.trigger or self.ack))
        assert not (found.busy and (found.results_valid or found.release)), "no result stands before a part in work"
        assert found.release == (found.results_valid and found.verdict == OK)
        assert (found.verdict != NONE) == found.results_valid
        assert not (found.trigger_ack and not self.trigger), "the acknowledgement follows the trigger down"


TestHandshake = Line.TestCase


def test_nothing_is_accepted_before_the_station_is_ready_nor_after_it_stopped() -> None:
    station = Handshake()
    assert station.trigger(True) is Write.REFUSED
    station.trigger(False)
    station.accept()
    assert station.signals().ready
    station.stop()
    assert not station.signals().ready
    assert station.trigger(True) is Write.REFUSED


def test_a_level_that_stays_up_triggers_once() -> None:
    station = running()
    assert station.trigger(True) is Write.WANTED
    station.begin()
    station.result(inspection(1))
    station.accept()
    station.results_ack(True)
    station.results_ack(False)
    assert station.trigger(True) is Write.NONE
    assert not station.signals().ready, "ready again only when TRIGGER has fallen"
    station.trigger(False)
    assert station.trigger(True) is Write.WANTED


def test_an_acknowledgement_before_the_result_does_not_take_the_result_away() -> None:
    station = running()
    station.trigger(True)
    station.begin()
    station.results_ack(True)
    station.result(inspection(1))
    assert station.signals().results_valid
    station.results_ack(False)
    assert station.signals().results_valid
    station.results_ack(True)
    assert not station.signals().results_valid


def test_a_fault_withdraws_an_ok_that_is_out_and_leaves_the_result_to_be_acknowledged() -> None:
    station = running()
    station.begin()
    station.result(inspection(5, verdict=Verdict.OK))
    assert station.signals().release
    station.safe()
    found = station.signals()
    assert (found.release, found.results_valid, found.verdict, found.sequence) == (False, True, ERROR, 5)
    assert found.error == Reason.OUTPUT_FAILED.code


@given(st.integers(0, 2**40))
def test_the_sequence_is_the_ids_low_32_bits(number: int) -> None:
    station = running()
    station.result(replace(inspection(1), id=number))
    assert station.signals().sequence == number % 2**32


def test_a_reason_keeps_the_number_that_the_programs_of_plcs_know() -> None:
    assert {reason.value: reason.code for reason in Reason} == {
        "score": 0,
        "no_frame": 1,
        "bad_frame": 2,
        "inference_failed": 3,
        "late": 4,
        "output_failed": 5,
        "self_test_failed": 6,
        "engine_died": 7,
        "stale_frame": 8,
        "part_not_found": 9,
        "commissioning": 10,
    }


@pytest.mark.parametrize("reason", Reason)
def test_the_plc_reads_the_number_of_the_verdicts_reason(reason: Reason) -> None:
    station = running()
    station.result(replace(inspection(1), reason=reason))
    assert station.signals().error == reason.code


def test_overruns_of_other_triggers_are_told_too() -> None:
    station = running()
    station.overruns_are(3)
    assert (station.signals().overrun, station.signals().overruns) == (True, 3)
    station.begin()
    station.overruns_are(3)
    assert not station.signals().overrun


def test_an_older_result_is_gone_when_a_part_begins_whoever_triggered_it() -> None:
    station = running()
    station.begin()
    station.result(inspection(5, verdict=Verdict.OK))
    station.accept()
    station.begin()
    found = station.signals()
    assert (found.release, found.results_valid, found.verdict, found.error) == (False, False, NONE, 0)


def test_an_older_result_is_gone_when_the_next_part_is_refused_but_a_plc_keeps_its_own() -> None:
    station = running()
    station.begin()
    station.result(inspection(5, verdict=Verdict.OK))
    station.passed()
    assert not station.signals().results_valid, "the part that has no verdict would be released by this one"
    station.accept()
    station.trigger(True)
    station.begin()
    station.result(inspection(6, verdict=Verdict.OK))
    station.passed()
    assert station.signals().release


def test_an_edge_that_is_refused_is_never_acknowledged_however_soon_it_follows_the_accepted_one() -> None:
    station = running()
    assert station.trigger(True) is Write.WANTED
    station.begin()
    station.trigger(False)
    assert station.trigger(True) is Write.REFUSED
    station.begin()  # the loop has heard of the first edge only now
    assert (station.signals().trigger_ack, station.signals().overrun) == (False, True)


def test_a_part_that_began_before_the_station_was_ready_again_keeps_it_busy() -> None:
    station = running()
    station.begin()
    station.result(inspection(1))
    station.begin()
    station.accept()
    assert (station.signals().busy, station.signals().ready) == (True, False)


def test_a_result_by_hand_is_of_no_part_and_a_part_takes_it_away() -> None:
    station = running()
    assert station.by_hand(Verdict.OK)
    assert station.signals().release
    station.begin()
    assert not station.signals().release
    assert not station.by_hand(Verdict.OK), "a part is in work"
    station.result(inspection(7, verdict=Verdict.ERROR))
    assert not station.signals().release


def test_the_safe_state_takes_back_a_release_by_hand() -> None:
    station = running()
    station.by_hand(Verdict.OK)
    station.safe()
    assert not station.signals().release
