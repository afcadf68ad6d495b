from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from edge.exchange.health import Drift, OutputHealth, SelfTest, State
from tests.edge.web.standin import StandIn, all_commands, all_troubles, part_image

SINCE = datetime(2026, 3, 4, 10, 42, 7, tzinfo=UTC)


def shown(station: StandIn, client: FlaskClient, **says: Any) -> list[dict[str, Any]]:
    station.says = says
    station.health()
    return list(client.get("/api/status").get_json()["notices"])


def test_a_station_without_trouble_has_no_banner(station: StandIn, client: FlaskClient) -> None:
    assert shown(station, client) == []
    assert shown(station, client, **all_commands()) == []
    outputs = [OutputHealth(name="modbus", up=True)]
    assert shown(station, client, drift=Drift(alarm=False, parts=90), outputs=outputs) == []


def test_drift_says_since_when_and_that_the_promise_no_longer_holds(station: StandIn, client: FlaskClient) -> None:
    (banner,) = shown(station, client, drift=Drift(alarm=True, since=SINCE, detail="scores are 38 % higher"))
    assert banner["since"] == SINCE.isoformat()
    assert "false-reject rate no longer holds" in banner["text"]
    assert "Scores are 38 % higher." in banner["text"]


def test_a_full_disk_says_that_rows_go_on(station: StandIn, client: FlaskClient) -> None:
    (banner,) = shown(station, client, storage_fault="no space left")
    assert "still gets its verdict and its row" in banner["text"]


def test_a_broker_that_is_down_says_how_much_waits(station: StandIn, client: FlaskClient) -> None:
    down = [
        OutputHealth(name="mqtt broker:1883", up=False, detail="refused", waiting=1),
        OutputHealth(name="a", up=True),
    ]
    (banner,) = shown(station, client, outputs=down)
    assert "mqtt broker:1883" in banner["title"]
    assert banner["text"].startswith("Refused. 1 message waits, sent when it is back.")
    facts = client.get("/api/status").get_json()["facts"]
    assert facts["outputs"] == "mqtt broker:1883: NO CONNECTION, 1 message waits; a: connected"


def test_a_failed_self_test_comes_before_all_others(station: StandIn, client: FlaskClient) -> None:
    banners = shown(station, client, **all_troubles())
    assert [banner["level"] for banner in banners] == ["fault", "warning", "warning", "warning", "hint"]
    assert "stop the line" in banners[0]["text"]


def test_banners_are_there_before_any_script_runs(station: StandIn, client: FlaskClient) -> None:
    station.says = {"drift": Drift(alarm=True, since=SINCE)}
    station.health()
    html = client.get("/").text
    assert "The scores have drifted since" in html
    assert "10:42 UTC" in html


def test_a_dead_engine_has_one_alarm_and_no_banners(station: StandIn, client: FlaskClient) -> None:
    station.says = all_troubles()
    station.health(State.STOPPED)
    assert client.get("/api/status").get_json()["notices"] == []


@pytest.mark.parametrize("state", [State.RUNNING, State.CAMERA_FAULT])
def test_a_picture_that_is_not_fit_is_a_camera_fault_and_no_defect(
    station: StandIn, client: FlaskClient, state: State
) -> None:
    station.inspect(part_image(defect=True))
    station.says = {"quality_fault": "out of focus: 31 % of the commissioned sharpness"}
    station.health(state)
    status = client.get("/api/status").get_json()
    assert (status["display"]["kind"], status["display"]["headline"]) == ("camera", "CAMERA FAULT")
    assert "nothing about the parts" in status["display"]["what"]
    assert "Check light, focus" in status["display"]["action"]
    assert status["engine"]["detail"].startswith("out of focus")
    assert status["latest"] is None


def test_a_failed_self_test_is_no_verdict(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    station.says = {"self_test": SelfTest(at=SINCE, passed=False), "quality_fault": "too dark"}
    station.health(State.FAULT)
    assert client.get("/api/status").get_json()["display"]["headline"] == "SELF-TEST FAILED"


def test_overruns_are_counted_on_the_page(station: StandIn, client: FlaskClient) -> None:
    station.says = {"overruns": 3}
    station.health()
    assert 'overrun: <b id="overrun-count">3</b>' in client.get("/").text


def test_an_unsigned_bundle_is_said_in_plain_words(station: StandIn, client: FlaskClient) -> None:
    (banner,) = shown(station, client, unsigned=True)
    assert banner["level"] == "hint"
    assert "Nobody proves where this model and its threshold come from" in banner["text"]
