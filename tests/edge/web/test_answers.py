"""Answers that many viewers ask for at once: one computation, 304 while nothing is new, and never an old state."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from edge.history.database import HistoryError
from edge.web.answers import Answers, Facts
from edge.web.station import EngineState, Station
from tests.edge.web.standin import StandIn, part_image

VIEWERS = 8


@pytest.fixture
def asked() -> Flask:
    return Flask(__name__)


def whole(facts: Facts) -> Facts:
    return facts


def test_viewers_who_ask_at_once_cost_one_computation(asked: Flask) -> None:
    answers, computed, together = Answers(), [], threading.Barrier(VIEWERS)

    def view(_: int) -> bytes:
        with asked.test_request_context("/api/status"):
            together.wait()
            return answers.give("same", lambda: computed.append(1) or {"part": len(computed)}, whole).data

    with ThreadPoolExecutor(VIEWERS) as viewers:
        assert set(viewers.map(view, range(VIEWERS))) == {b'{"part":1}\n'}
    assert computed == [1]


def test_another_stamp_another_address_and_another_place_are_computed_anew(asked: Flask) -> None:
    answers = Answers()
    seen = []
    for stamp, path, root in (
        (1, "/a", ""),
        (1, "/a", ""),
        (2, "/a", ""),
        (2, "/a?raw=1", ""),
        (2, "/a", "/stations/b"),
    ):
        with asked.test_request_context(path, environ_overrides={"SCRIPT_NAME": root}):
            answers.give(stamp, lambda: seen.append(1) or {}, whole)
    assert len(seen) == 4


def test_what_fails_is_raised_to_each_and_kept_for_none(asked: Flask) -> None:
    answers = Answers()

    def locked() -> Facts:
        raise HistoryError("the history is locked")

    with asked.test_request_context("/a"):
        answers.give(1, lambda: {"part": 1}, whole)
        for _ in range(2):
            with pytest.raises(HistoryError):
                answers.give(2, locked, whole)
        assert answers.give(2, lambda: {"part": 2}, whole).json == {"part": 2}


def test_an_engine_that_only_goes_on_is_told_in_304_and_a_new_part_is_not(
    station: StandIn, client: FlaskClient
) -> None:
    station.inspect(part_image())
    station.health()
    first = client.get("/api/status")
    assert (first.headers["ETag"][:2], first.headers["Cache-Control"]) == ("W/", "private, no-cache")
    known = {"If-None-Match": first.headers["ETag"]}
    station.health()
    again = client.get("/api/status", headers=known)
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert client.get("/api/status?raw=1", headers=known).status_code == 200
    station.inspect(part_image(defect=True))
    station.health()
    fresh = client.get("/api/status", headers=known)
    assert (fresh.status_code, fresh.get_json()["display"]["headline"]) == (200, "NG")


def test_an_engine_that_falls_silent_is_told_although_its_last_answer_is_kept(
    station: StandIn, client: FlaskClient
) -> None:
    health, here, silent = station.health(), Station(station.config), False
    station.health(written_at=datetime.now(UTC) - timedelta(seconds=health.stale_after_s - 0.5))
    while not silent:  # the answer before is always a kept one
        silent = here.engine().state is EngineState.STALE
        alive = client.get("/api/status").get_json()["engine"]["alive"]
        assert not (silent and alive)


def test_what_a_person_says_is_seen_at_once_by_everybody_else(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(defect=True))
    station.health()
    other = client.get("/api/status")
    assert other.get_json()["rejects"]["unseen"] == 1
    client.post("/api/seen", json={"part": 1, "who": "Anna"})
    answer = client.get("/api/status", headers={"If-None-Match": other.headers["ETag"]})
    assert (answer.status_code, answer.get_json()["rejects"]["unseen"]) == (200, 0)
