"""What the answers say about a limit: figures, bounds, and what the page and the engine make of a wish."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect

from edge.history.audit import AuditLog
from edge.history.limits import LimitLog
from edge.history.reviews import Opinion
from edge.inference.bundle import Bundle
from edge.web.review.limit import Judged, curve, effect, guarantee, upper_bound
from edge.web.review.queue import Queue
from edge.web.station import Station
from tests.edge.web.conftest import CHROMIUM
from tests.edge.web.standin import StandIn
from tests.edge.web.test_browser import LOW_CONTRAST, SMALL_TARGETS, Visitor, scrolls_sideways
from tests.edge.web.test_reviews import fill, say
from tests.edge.web.test_server import page_process
from tests.system.station import Engine
from tests.system.station import Station as Running
from tests.tiny import THRESHOLD


def chance_of_at_most(found: int, among: int, share: float) -> float:
    return sum(math.comb(among, k) * share**k * (1 - share) ** (among - k) for k in range(found + 1))


@given(st.integers(1, 300), st.data(), st.sampled_from([0.05, 0.025, 0.001]))
def test_the_bound_is_the_share_at_which_so_few_come_with_the_risk(
    among: int, data: st.DataObject, risk: float
) -> None:
    found = data.draw(st.integers(0, among))
    bound = upper_bound(found, among, risk)
    assert found / among <= bound <= 1.0
    if found < among:
        assert chance_of_at_most(found, among, bound) == pytest.approx(risk, rel=1e-3)


def test_of_sixty_good_parts_without_a_reject_the_bound_is_five_percent() -> None:
    assert upper_bound(0, 59, 0.05) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(0, 0, 0.05) == 1.0


PARTS = [
    Judged(1, 10.0, Opinion.GOOD, True),
    Judged(2, 55.0, Opinion.GOOD, True),
    Judged(3, 70.0, Opinion.BAD, True),
    Judged(4, 20.0, Opinion.UNSURE, True),
    Judged(5, 48.0, Opinion.BAD, False),
    Judged(6, 52.0, Opinion.GOOD, False),
    Judged(7, 90.0, Opinion.UNSURE, True),
]


def test_the_effect_of_a_limit_counts_and_names_the_parts_that_change() -> None:
    found = effect(PARTS, 50.0, 60.0)
    assert (found["goods"], found["goods_rejected_now"], found["goods_rejected"]) == (3, 2, 0)
    assert (found["bads"], found["bads_passed_now"], found["bads_passed"]) == (2, 1, 1)
    assert found["changed"] == [2, 6]


def test_only_the_random_sample_guarantees_anything_and_who_is_not_sure_counts_as_the_worse() -> None:
    found = guarantee(PARTS, 60.0)
    assert (found["sample"], found["unsure"]) == (5, 2)
    assert (found["goods"], found["goods_rejected"]) == (3, 1), "the unsure one above the limit may be good"
    assert (found["passed"], found["passed_bad"]) == (3, 1), "the unsure one below it may be bad"
    assert found["goods_rejected_at_most"] == pytest.approx(upper_bound(1, 3, 0.05))
    assert found["goods_rejected_at_most_any"] > found["goods_rejected_at_most"]


def test_the_curve_needs_both_kinds_and_has_an_interval_at_each_point() -> None:
    assert curve([part for part in PARTS if part.opinion is Opinion.GOOD])["auroc"] is None
    found = curve(PARTS)
    assert found["auroc"] == pytest.approx(4 / 6)
    assert [point["limit"] for point in found["points"]] == [10.0, 48.0, 52.0, 55.0, 70.0]
    for point in found["points"]:
        for side in (point["goods_rejected"], point["bads_found"]):
            assert 0.0 <= side["low"] <= side["share"] <= side["high"] <= 1.0
    many = [Judged(n, float(n), Opinion.BAD if n % 3 else Opinion.GOOD, True) for n in range(500)]
    assert len(curve(many)["points"]) <= 40


def test_an_answer_on_another_row_or_of_another_bundle_counts_nothing(station: StandIn, client: FlaskClient) -> None:
    fill(station, [10.0, 60.0, 70.0])
    station.health()
    for part, opinion in ((1, "good"), (2, "bad"), (3, "good")):
        assert say(client, part, opinion).status_code == 200
    found = client.get("/api/limit?at=65").get_json()
    assert (found["effect"]["goods"], found["effect"]["goods_rejected"], found["effect"]["bads_passed"]) == (2, 1, 1)
    assert [part["id"] for part in found["effect"]["changed"]] == [2]
    assert found["guarantee"]["sample"] == 0, "nobody was asked by chance"
    station.config.events_db.rename(station.config.state_dir / "old.db")
    for ending in ("-wal", "-shm", ".ids"):
        station.config.events_db.with_name(f"events{'' if ending == '.ids' else '.db'}{ending}").unlink(missing_ok=True)
    station.last = None
    fill(station, [10.0, 60.0, 70.5])
    assert client.get("/api/limit?at=65").get_json()["effect"]["goods"] == 0
    with client.application.test_request_context():
        assert Queue(Station(station.config)).facts(5)["answered"] == 3


@pytest.mark.parametrize("at", ["", "nan", "inf", "-1", "0", "1e9", "limit"])
def test_a_limit_that_is_none_is_refused_by_name(station: StandIn, client: FlaskClient, at: str) -> None:
    fill(station, [10.0])
    station.health()
    answer = client.get(f"/api/limit?at={at}")
    assert (answer.status_code, answer.get_json()["error"].split(":")[0]) == (400, "at")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"before": "x"}, "before"),
        ({"after": "nan"}, "after"),
        ({"after": True}, "after"),
        ({"who": ""}, "who"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 301}, "reason"),
    ],
)
def test_a_wish_without_who_or_why_is_refused_by_name(
    station: StandIn, client: FlaskClient, given: dict[str, object], name: str
) -> None:
    station.start()
    wish = {"before": THRESHOLD, "after": 60, "who": "Anna", "reason": "rust"} | given
    answer = client.post("/api/limit", json=wish)
    assert (answer.status_code, answer.get_json()["error"].split(":")[0]) == (400, name)


def test_without_an_engine_nothing_is_changed(station: StandIn, client: FlaskClient) -> None:
    wish = {"before": THRESHOLD, "after": 60, "who": "Anna", "reason": "rust"}
    answer = client.post("/api/limit", json=wish)
    assert (answer.status_code, "nothing was done" in answer.get_json()["error"]) == (503, True)
    assert client.get("/api/limit").status_code == 503


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[Running]:
    station = Running(tmp_path_factory.mktemp("limit"), tiny_bundle)
    with Engine(station) as engine:
        engine.ready()
        yield station


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed")
def test_a_limit_is_set_from_the_page_and_one_that_passes_a_bad_reference_is_not(
    chromium: Browser, running: Running
) -> None:
    """The page and the engine as they run on a station."""
    visitor = Visitor(chromium, running, 390, 844)  # type: ignore[arg-type]  # it has a page at a port, too
    page = visitor.open("/limit")
    expect(page.locator("#which")).to_contain_text("limit 50, the model")
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert not scrolls_sideways(page)
    page.fill("#who", "Anna")
    page.fill("#reason", "rust marks are fine")
    page.click("#higher")
    expect(page.locator("#at-text")).to_contain_text("1.05 (score")
    page.click("#set")
    expect(page.locator("#apply-answer")).to_contain_text("from now on, it was 50", timeout=60_000)
    expect(page.locator("#which")).to_contain_text("Anna")
    expect(page.locator("#log tr")).to_have_count(1)
    page.fill("#reason", "let everything pass")
    page.locator("#at").fill("3")
    expect(page.locator("#at-text")).to_contain_text("3.00 (score")
    page.click("#set")
    expect(page.locator("#apply-answer")).to_contain_text("a bad part, which would pass", timeout=60_000)
    page.fill("#reason", "as it was")
    page.click("#own")
    expect(page.locator("#apply-answer")).to_contain_text("from now on, it was 52.5", timeout=60_000)
    expect(page.locator("#log tr")).to_have_count(2)
    visitor.context.close()


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed")
def test_the_limit_that_is_set_is_the_one_whose_effect_is_on_show(chromium: Browser, station: StandIn) -> None:
    station.start()
    with page_process(station.config):
        visitor = Visitor(chromium, station)
        page = visitor.open("/limit")
        page.fill("#who", "Anna")
        page.fill("#reason", "rust marks are fine")
        expect(page.locator("#says-good")).to_contain_text("of the 0 good parts")
        page.locator("#at").fill("1.2")
        expect(page.locator("#set")).to_be_enabled()
        page.route("**/api/limit?at=*", lambda route: route.abort())
        page.locator("#at").fill("1.5")
        expect(page.locator("#set")).to_be_disabled()
        expect(page.locator("#problem")).to_contain_text("No connection")
        expect(page.locator("#says-good")).to_have_text("–")
        page.unroute("**/api/limit?at=*")
        with page.expect_request(lambda request: request.method == "POST") as sent:
            page.click("#set")
        now = page.request.get(f"{visitor.url}/api/limit").json()
        wanted = now["typical"] + 1.5 * (now["threshold"] - now["typical"])
        assert sent.value.post_data_json["after"] == pytest.approx(wanted)
        visitor.context.close()


def test_of_two_who_change_the_limit_at_once_one_wins_and_the_other_is_told_the_new_one(running: Running) -> None:
    """Over real HTTP, with the engine and the page as they run on a station."""
    wishes = {"Anna": 55.0, "Ben": 60.0}

    def ask(who: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)
        wish = {"before": THRESHOLD, "after": wishes[who], "who": who, "reason": f"{who} saw rust"}
        connection.request("POST", "/api/limit", json.dumps(wish), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        with contextlib.closing(connection):
            return answer.status, json.load(answer)

    with ThreadPoolExecutor(2) as both:
        answers = dict(zip(wishes, both.map(ask, wishes), strict=True))
    (winner,) = (who for who, (status, _) in answers.items() if status == 200)
    (loser,) = set(wishes) - {winner}
    status, said = answers[loser]
    assert (status, said["threshold"]) == (409, wishes[winner])
    assert (
        said["error"]
        == f"the limit is {wishes[winner]:g} by now, somebody else changed it; look at it and decide again"
    )
    with contextlib.closing(LimitLog(running.config.state_dir, read_only=True)) as log:
        newest, *older = log.recent(9)
    assert (newest.who, newest.after, newest.reason) == (winner, wishes[winner], f"{winner} saw rust")
    assert f"{loser} saw rust" not in {change.reason for change in older}
    with contextlib.closing(AuditLog(running.config.page_dir, read_only=True)) as audit:
        told = {row.deed.after.partition(": ")[2]: row.deed.outcome for row in audit.recent(4)[::-1]}
    assert told[f"{winner} saw rust"] == "done"
    assert told[f"{loser} saw rust"].startswith("refused (409): the limit is")
