from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from edge.core.types import Reason, Verdict
from edge.history.rows import Point
from edge.web.shift.report import MAX_BARS, SLOTS, shift_in_numbers
from tests.edge.web.standin import StandIn, part_image
from tests.tiny import THRESHOLD

START = datetime(2026, 3, 4, 6, 0, tzinfo=UTC)
HOURS = (timedelta(minutes=50), timedelta(hours=8), timedelta(hours=25), timedelta(days=31))


@pytest.fixture
def shift(station: StandIn) -> StandIn:
    """OK at 06:10, NG at 06:50, ERROR at 07:30, OK at 08:00."""
    station.inspect(part_image(), START + timedelta(minutes=10))
    station.inspect(part_image(defect=True), START + timedelta(minutes=50))
    station.fail(Reason.LATE, "=late, after 130 ms", START + timedelta(minutes=90))
    station.inspect(part_image(), START + timedelta(minutes=120))
    return station


def table(client: FlaskClient, query: str = "") -> list[dict[str, str]]:
    answer = client.get(f"/history.csv{query}")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


points = st.builds(
    Point,
    st.integers(0, 49 * 60).map(lambda second: START + timedelta(seconds=second)),
    st.sampled_from(Verdict),
    st.none() | st.floats(0, 1e6) | st.just(float("nan")),
    st.none() | st.just(50.0),
    st.floats(0, 1e5),
)


@given(st.lists(points, max_size=60), st.sampled_from(HOURS))
def test_every_part_is_in_exactly_one_bar_and_one_latency_class(found: list[Point], span: timedelta) -> None:
    facts = shift_in_numbers(found, START, START + span)
    bars = facts["bars"]["bars"]
    for verdict in Verdict:
        count = sum(point.verdict is verdict for point in found)
        assert sum(bar[verdict.value] for bar in bars) == facts["verdicts"][verdict.value] == count
    assert sum(facts["latency"]["counts"]) == facts["total"] == len(found)
    assert len(bars) <= MAX_BARS + 1
    assert len(facts["scores"]) <= SLOTS


def test_a_shift_is_counted_hour_by_hour(shift: StandIn, client: FlaskClient) -> None:
    facts = client.get("/api/report?from=2026-03-04T06:00Z&to=2026-03-04T14:00Z").get_json()
    assert facts["verdicts"] == {"OK": 2, "NG": 1, "ERROR": 1}
    assert facts["bars"]["seconds"] == 3600
    assert [tuple(bar[verdict] for verdict in Verdict) for bar in facts["bars"]["bars"][:3]] == [
        (1, 1, 0),
        (0, 0, 1),
        (1, 0, 0),
    ]
    assert [slot["threshold"] for slot in facts["scores"]] == [50.0, 50.0, 50.0]
    assert facts["deadline_ms"] == 100


def test_a_filter_says_of_how_many_parts_it_chose(shift: StandIn, client: FlaskClient) -> None:
    for query, wanted in (("", (4, 4)), ("&verdict=NG", (1, 4)), ("&reason=late", (1, 4))):
        facts = client.get(f"/api/report?from=2026-03-04T06:00Z&to=2026-03-04T14:00Z{query}").get_json()
        assert (facts["total"], facts["of"]) == wanted


def test_a_report_without_any_part_is_empty_and_no_failure(client: FlaskClient) -> None:
    facts = client.get("/api/report").get_json()
    assert (facts["total"], facts["scores"], facts["complete"]) == (0, [], True)


def test_a_history_too_long_for_one_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.web.shift.report.MAX_POINTS", 2)
    found = [Point(START, Verdict.OK, 1.0, 50.0, 10.0)] * 3
    assert (
        shift_in_numbers(found, START, START + HOURS[1])["complete"],
        shift_in_numbers(found[:2], START, START + HOURS[1])["total"],
    ) == (
        False,
        2,
    )


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["1", "2", "3", "4"]),
        ("?verdict=OK", ["1", "4"]),
        ("?reason=late", ["3"]),
        ("?from=2026-03-04T06:50Z", ["2", "3", "4"]),
        ("?to=2026-03-04T07:50%2B01:00", ["1"]),
        ("?to=2026-03-04T07:50+01:00", ["1"]),
        ("?from=2026-03-04T06:30Z&to=2026-03-04T08:00Z&verdict=NG", ["2"]),
    ],
)
def test_the_table_holds_what_was_chosen_oldest_first(
    shift: StandIn, client: FlaskClient, query: str, ids: list[str]
) -> None:
    assert [row["id"] for row in table(client, query)] == ids
    listed = client.get(f"/api/inspections{query}").get_json()["inspections"]
    assert [str(row["id"]) for row in listed] == ids[::-1]


def test_numbers_of_the_table_read_back_exactly(shift: StandIn, client: FlaskClient) -> None:
    row = table(client)[1]
    facts = client.get("/api/inspections/2").get_json()
    assert float(row["score"]) == facts["score"]
    assert float(row["total_ms"]) == facts["timings_ms"]["total"]
    assert (row["verdict"], row["at"], row["regions"]) == ("NG", "2026-03-04T06:50:00.000+00:00", "2")
    assert row["bundle"] == shift.bundle.title


def test_a_text_of_the_table_is_no_formula(shift: StandIn, client: FlaskClient) -> None:
    assert table(client)[2]["detail"] == "'=late, after 130 ms"
    assert table(client)[2]["score"] == ""


def test_a_table_of_nothing_has_its_header(client: FlaskClient) -> None:
    answer = client.get("/history.csv")
    assert answer.text.startswith("id,at,trigger_id,verdict,reason,")
    assert answer.headers["Content-Disposition"] == "attachment; filename=linewatch-history.csv"


def test_a_long_table_comes_in_pieces_and_whole(station: StandIn, client: FlaskClient) -> None:
    station.shift(2, 1700)
    answer = client.get("/history.csv", buffered=False)
    pieces = list(answer.iter_encoded())
    assert len(pieces) > 3
    assert [int(line.split(b",")[0]) for line in b"".join(pieces).splitlines()[1:]] == list(range(1, 1701))


def test_a_damaged_history_is_refused_before_the_table_begins(station: StandIn, client: FlaskClient) -> None:
    station.config.events_db.parent.mkdir(parents=True)
    station.config.events_db.write_bytes(b"no database" * 200)
    answer = client.get("/history.csv")
    assert (answer.status_code, "events.db" in answer.get_json()["error"]) == (503, True)


BAD: list[tuple[str, str]] = [
    ("from=yesterday", "from"),
    ("from=2026-03-04T06:00", "zone"),
    ("to=2026-03-04", "zone"),
    ("from=", "from"),
    ("to=9999-12-31T23:59-23:00", "to"),
    ("from=2026-03-04T06:00Z&to=2026-03-04T06:00Z", "later"),
    ("reason=unknown", "reason"),
    ("verdict=ok", "verdict"),
]


@pytest.mark.parametrize(("query", "says"), BAD)
@pytest.mark.parametrize("path", ["/history.csv", "/api/inspections"])
def test_a_bad_choice_is_named(client: FlaskClient, path: str, query: str, says: str) -> None:
    answer = client.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert says in answer.get_json()["error"]


@pytest.mark.parametrize("query", ["from=2026-01-01T00:00Z&to=2026-03-01T00:00Z", "from=2100-01-01T00:00Z"])
def test_a_report_spans_at_most_a_month(client: FlaskClient, query: str) -> None:
    answer: dict[str, Any] = client.get(f"/api/report?{query}").get_json()
    assert "31 days" in answer["error"]


def test_the_history_page_names_the_end_of_the_chain(shift: StandIn, client: FlaskClient) -> None:
    html = client.get("/history").text
    assert "The last row is <strong>4</strong>, its hash begins with <code>" in html
    assert 'href="/service">Service</a> follows the whole chain' in html


@pytest.mark.parametrize("query", ["", "&verdict=NG", "&verdict=OK", "&reason=score", "&reason=late"])
def test_a_long_report_counts_every_part_and_says_how_many_it_read(
    station: StandIn, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """The same numbers as from every row; scores and times come from a sample."""
    station.shift(7, 900)
    now = datetime.now(UTC)
    span = f"from={now - timedelta(hours=8):%Y-%m-%dT%H:%M}Z&to={now + timedelta(minutes=2):%Y-%m-%dT%H:%M}Z"
    whole = client.get(f"/api/report?{span}{query}").get_json()
    monkeypatch.setattr("edge.web.shift.report.MOST_READ", 7)
    facts = client.get(f"/api/report?{span}{query}").get_json()
    for key in ("total", "verdicts", "bars", "complete", "from", "to"):
        assert facts[key] == whole[key]
    assert whole["sampled"] is None
    assert whole["total"] > 7
    assert facts["sampled"] == sum(facts["latency"]["counts"]) <= 2 * 7
    assert {slot["threshold"] for slot in facts["scores"]} <= {THRESHOLD}
