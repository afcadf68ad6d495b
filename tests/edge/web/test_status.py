from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from edge.core.types import Reason
from edge.exchange.health import HEALTH, STALE_AFTER_S, UNHEARD_S, State
from edge.exchange.requests import REQUESTS
from edge.exchange.sockets import listen
from edge.web.station import SUSPECT_AFTER_S
from tests.edge.web.standin import StandIn, part_image


def test_a_station_that_never_ran_says_so_and_has_an_empty_history(client: FlaskClient) -> None:
    status = client.get("/api/status").get_json()
    assert status["engine"] == status["engine"] | {"alive": False, "state": "absent", "last_seen": None}
    assert status["display"]["headline"] == "NO ENGINE"
    assert status["history"] == {"OK": 0, "NG": 0, "ERROR": 0, "total": 0, "last_id": 0}
    assert status["health"] is None


def test_a_running_engine_shows_its_last_verdict_with_score_and_threshold(
    station: StandIn, client: FlaskClient
) -> None:
    station.inspect(part_image(defect=False))
    bad = station.inspect(part_image(defect=True))
    station.health()
    status = client.get("/api/status").get_json()
    assert status["engine"]["alive"] is True
    assert status["display"]["headline"] == "NG"
    assert status["latest"]["id"] == bad.id
    assert status["latest"]["score"] == bad.score
    assert status["latest"]["threshold"] == bad.threshold
    assert status["history"] == {"OK": 1, "NG": 1, "ERROR": 0, "total": 2, "last_id": bad.id}


def test_the_old_verdict_of_a_silent_engine_is_not_shown(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    gone = datetime.now(UTC) - timedelta(seconds=STALE_AFTER_S + 60)
    station.health(written_at=gone)
    status = client.get("/api/status").get_json()
    assert status["engine"]["alive"] is False
    assert status["engine"]["state"] == "stale"
    assert datetime.fromisoformat(status["engine"]["last_seen"]) == gone.replace(
        microsecond=gone.microsecond // 1000 * 1000
    )
    assert status["display"]["headline"] == "NO ENGINE"
    assert status["latest"] is None


def test_an_engine_whose_process_is_gone_is_told_before_its_last_word_is_old(
    station: StandIn, client: FlaskClient
) -> None:
    listen(station.config.run_dir, REQUESTS).close()  # what a kill leaves
    station.health(written_at=datetime.now(UTC) - timedelta(seconds=SUSPECT_AFTER_S + 0.05))
    assert client.get("/api/status").get_json()["engine"]["state"] == "stale"


@pytest.mark.parametrize("raw", [0, 1])
def test_the_picture_may_come_with_the_status(station: StandIn, client: FlaskClient, raw: int) -> None:
    station.inspect(part_image(defect=True))
    station.health()
    picture = client.get(f"/api/status?inline=1&raw={raw}").get_json()["picture"]
    kind, _, text = picture["address"].partition(",")
    assert (picture["part"], kind) == (1, "data:image/jpeg;base64")
    assert b64decode(text) == client.get(f"/live.jpg?raw={raw}").data


@pytest.mark.parametrize("deadline_ms", [20.0, 300.0, 800.0])
def test_a_hanging_engine_is_told_within_two_seconds(station: StandIn, deadline_ms: float) -> None:
    """The page asks each .4 s."""
    health = station.health().model_copy(update={"deadline_ms": deadline_ms})
    assert deadline_ms / 1e3 + UNHEARD_S <= health.stale_after_s <= 2.0 - 0.4


def test_a_snapshot_from_the_future_is_not_taken_for_a_living_engine(station: StandIn, client: FlaskClient) -> None:
    station.health(written_at=datetime.now(UTC) + timedelta(hours=1))
    assert client.get("/api/status").get_json()["engine"]["alive"] is False


@pytest.mark.parametrize(
    ("state", "alive", "kind"),
    [(State.STARTING, True, "wait"), (State.CAMERA_FAULT, True, "camera"), (State.STOPPED, False, "none")],
)
def test_only_a_running_engine_has_a_verdict(
    station: StandIn, client: FlaskClient, state: State, alive: bool, kind: str
) -> None:
    station.inspect(part_image(defect=True))
    station.health(state)
    status = client.get("/api/status").get_json()
    assert (status["engine"]["alive"], status["display"]["kind"], status["latest"]) == (alive, kind, None)


def test_an_error_verdict_carries_what_to_do(station: StandIn, client: FlaskClient) -> None:
    station.fail(Reason.BAD_FRAME, "the image is black")
    station.health()
    status = client.get("/api/status").get_json()
    assert status["display"]["kind"] == "error"
    assert "Reject the part" in status["display"]["action"]
    assert status["latest"]["detail"] == "the image is black"
    assert status["latest"]["score"] is None


def test_a_restarted_engine_waits_instead_of_showing_the_last_run(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(defect=True))
    health = station.health()
    restarted = health.model_copy(update={"last_verdict": None, "last_reason": None})
    (station.config.run_dir / HEALTH).write_text(restarted.model_dump_json())
    assert client.get("/api/status").get_json()["display"]["kind"] == "wait"


def test_a_recorder_far_behind_does_not_hold_back_the_engines_word(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(defect=False))
    ahead = station.health().model_copy(update={"last_id": 100, "last_verdict": "NG", "last_reason": "score"})
    (station.config.run_dir / HEALTH).write_text(ahead.model_dump_json())
    status = client.get("/api/status").get_json()
    assert (status["display"]["headline"], status["latest"]) == ("NG", None)


def test_a_damaged_history_is_named_and_the_engine_is_still_shown(station: StandIn, client: FlaskClient) -> None:
    station.config.events_db.parent.mkdir(parents=True)
    station.config.events_db.write_bytes(b"this is no database, but it is long enough to be read as one" * 20)
    station.health()
    status = client.get("/api/status").get_json()
    assert status["engine"]["alive"] is True
    assert status["history"] is None
    assert "events.db" in status["history_problem"]
    assert client.get("/api/inspections").status_code == 503
    assert client.get("/").status_code == 200


def test_damaged_health_is_one_line_and_no_engine(station: StandIn, client: FlaskClient) -> None:
    (station.config.run_dir / HEALTH).write_text('{"state": 3}')
    engine = client.get("/api/status").get_json()["engine"]
    assert engine["alive"] is False
    assert HEALTH in engine["detail"]
    assert "\n" not in engine["detail"]
