"""The page of a shift: its local times, its numbers, its orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from edge.config.shift import ShiftConfig
from edge.core.types import Reason, Region, Verdict
from edge.history.eventlog import EventLog
from edge.web.server import create_app
from edge.web.shift.calendar import Calendar
from edge.web.shift.numbers import share_text
from tests.edge.engine.parts import inspection
from tests.edge.web.standin import StandIn

ZONES = ("", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")
BERLIN = ShiftConfig(zone="Europe/Berlin")
MORNING = datetime(2026, 3, 4, 5, 0, tzinfo=UTC)  # 06:00 in Berlin
plans = st.lists(st.times().map(lambda at: at.replace(second=0, microsecond=0)), min_size=1, max_size=6, unique=True)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.sampled_from(ZONES), plans, moments)
def test_shifts_follow_each_other_without_a_gap_in_every_zone(zone: str, plan: list[time], at: datetime) -> None:
    calendar = Calendar(ShiftConfig(zone=zone, starts={f"{number}": one for number, one in enumerate(plan)}))
    shift = calendar.shift_at(at)
    assert shift.start <= at < shift.end
    assert calendar.shift_at(shift.start) == shift == calendar.before(calendar.shift_at(shift.end))
    assert calendar.before(shift).end == shift.start


@given(st.sampled_from(ZONES), moments, st.timedeltas(timedelta(minutes=1), timedelta(days=90)), st.booleans())
def test_every_moment_of_a_time_has_one_bar(zone: str, start: datetime, span: timedelta, days: bool) -> None:
    calendar = Calendar(ShiftConfig(zone=zone))
    span = span if days else min(span, timedelta(hours=50))
    bars = calendar.bars(start, start + span, days)
    assert bars[0] == start
    assert all(timedelta() < after - before <= timedelta(days=2) for before, after in pairwise(bars))
    for at in bars[1:]:
        local = calendar.local(at)
        assert (local.minute, local.second) == (0, 0) or zone == "Australia/Lord_Howe"
        assert not days or local.hour == 0


def test_the_night_in_which_clocks_change_has_an_hour_more_or_less() -> None:
    calendar = Calendar(BERLIN)
    spring = calendar.shift_at(datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
    autumn = calendar.shift_at(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert (spring.name, spring.end - spring.start) == ("Night", timedelta(hours=7))
    assert (autumn.name, autumn.end - autumn.start) == ("Night", timedelta(hours=9))
    words = [f"{calendar.local(at):%H:%M %Z}" for at in calendar.bars(autumn.start, autumn.end, whole_days=False)]
    assert words[3:7] == ["01:00 CEST", "02:00 CEST", "02:00 CET", "03:00 CET"]


@pytest.fixture
def line(station: StandIn) -> StandIn:
    """Two shifts of a station in Berlin: Night with 4 parts, then Early with 10, of which 4 are rejected."""
    station.config = station.config.model_copy(update={"shift": BERLIN})
    night = [(Verdict.OK, Reason.SCORE, "", -60 + minute) for minute in (0, 1, 2)]
    early = [(Verdict.OK, Reason.SCORE, "", minute) for minute in (0, 1, 2, 3, 4, 5)]
    night += [(Verdict.NG, Reason.SCORE, "dent", -10)]
    early += [(Verdict.NG, Reason.SCORE, "scratch", 61), (Verdict.NG, Reason.SCORE, "scratch", 62)]
    early += [(Verdict.NG, Reason.SCORE, "", 121), (Verdict.ERROR, Reason.LATE, "", 122)]
    rows = []
    for number, (verdict, reason, label, minute) in enumerate([*night, *early], start=1):
        regions = (Region(1, 1, 5, 5, 25, 80.0, label),) if label else ()
        row = replace(inspection(number, verdict=verdict), reason=reason, regions=regions)
        rows.append(replace(row, at=MORNING + timedelta(minutes=minute)))
    log = EventLog(station.config.events_db)
    log.append(*rows)
    log.close()
    return station


@pytest.fixture
def client(line: StandIn) -> FlaskClient:
    return create_app(line.config).test_client()


def test_a_shift_is_counted_beside_the_one_before(client: FlaskClient) -> None:
    facts = client.get("/api/shift?at=2026-03-04T09:00Z").get_json()
    assert facts["shift"]["words"] == "Wed 2026-03-04 06:00 to 14:00 CET"
    assert (facts["parts"], facts["OK"], facts["NG"], facts["ERROR"], facts["yield"]) == (10, 6, 3, 1, 0.6)
    assert (facts["before"]["name"], facts["before"]["parts"], facts["before"]["yield"]) == ("Night", 4, 0.75)
    assert [(bar["words"], bar["parts"]) for bar in facts["bars"]["bars"]][:4] == [
        ("06:00 CET", 6), ("07:00 CET", 2), ("08:00 CET", 2), ("09:00 CET", 0),
    ]  # fmt: skip


def test_rejects_are_a_pareto_by_reason_and_by_type_of_defect(client: FlaskClient) -> None:
    facts = client.get("/api/shift?at=2026-03-04T09:00Z").get_json()
    rejects = [(row["verdict"], row["reason"], row["parts"], row["up_to"]) for row in facts["rejects"]]
    assert rejects == [("NG", "score", 3, 0.75), ("ERROR", "late", 1, 1.0)]
    defects = [(row["label"], row["parts"], row["per_1000"], row["per_1000_before"]) for row in facts["defects"]]
    assert defects == [("scratch", 2, 200, 0), ("type not known", 1, 100, 0), ("dent", 0, 0, 250)]


def test_a_shift_is_compared_with_the_last_one_in_which_parts_were_judged(client: FlaskClient) -> None:
    facts = client.get("/api/shift?at=2026-03-09T09:00Z").get_json()
    assert (facts["parts"], facts["yield"], facts["rejects"][0]["parts"]) == (0, None, 0)
    assert facts["before"]["words"] == "Wed 2026-03-04 06:00 to 14:00 CET"


def test_the_page_says_what_the_interface_for_programs_says(client: FlaskClient) -> None:
    page = client.get("/shift?at=2026-03-04T09:00Z").text
    for words in ("Early", "Wed 2026-03-04 06:00 to 14:00 CET", "60.00\u00a0%", "scratch", "The verdict came too late"):
        assert words in page


def test_a_station_without_a_history_has_an_empty_shift(station: StandIn) -> None:
    page = create_app(station.config).test_client().get("/shift")
    assert page.status_code == 200
    assert "No part was judged in this time." in page.text


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("at=yesterday", 400, "at: must be a time"),
        ("at=0001-01-01T00:00Z", 400, "at: must be a time of the years"),
        ("at=9999-12-31T23:59Z", 400, "at: must be a time of the years"),
        ("order=%F0%9F%94%A9", 400, "is no number of an order"),
        ("order=4711", 404, "never made here"),
        ("order=", 404, "never made here"),
    ],
)
def test_a_shift_that_cannot_be_is_one_line(client: FlaskClient, query: str, status: int, words: str) -> None:
    answer = client.get(f"/api/shift?{query}")
    assert (answer.status_code, words in answer.get_json()["error"]) == (status, True)


def test_an_order_is_set_and_its_parts_are_counted(client: FlaskClient, line: StandIn) -> None:
    assert client.post("/api/order", json={"order": " 4711/B ", "before": ""}).get_json() == {"order": "4711/B"}
    line.record(replace(inspection(15, verdict=Verdict.OK), at=datetime.now(UTC)))
    assert client.get("/api/orders").get_json() == {"order": "4711/B", "recent": ["4711/B"]}
    facts = client.get("/api/shift?order=4711/B").get_json()
    assert (facts["order"], facts["parts"], facts["OK"]) == ("4711/B", 1, 1)
    assert "4711/B" in client.get("/shift").text


@pytest.mark.parametrize("given", [{}, {"order": "🔩 12"}, {"order": "x" * 41}, {"order": 5}, {"order": "<b>"}])
def test_what_is_no_number_of_an_order_changes_nothing(client: FlaskClient, given: dict[str, object]) -> None:
    answer = client.post("/api/order", json=given)
    assert (answer.status_code, answer.get_json()["error"][:6]) == (400, "order:")
    assert client.get("/api/orders").get_json() == {"order": "", "recent": []}


def test_of_two_who_set_an_order_at_once_the_second_is_told(client: FlaskClient) -> None:
    assert client.post("/api/order", json={"order": "1", "before": ""}).status_code == 200
    late = client.post("/api/order", json={"order": "2", "before": ""})
    assert (late.status_code, late.get_json()["order"]) == (409, "1")
    assert client.get("/api/orders").get_json()["order"] == "1"


def test_a_share_reads_as_all_or_nothing_only_where_it_is() -> None:
    assert [share_text(share) for share in (None, 0.0, 1e-6, 0.123456, 0.999999, 1.0)] == [
        "–", "0.00 %", "< 0.01 %", "12.35 %", "> 99.99 %", "100.00 %",
    ]  # fmt: skip
