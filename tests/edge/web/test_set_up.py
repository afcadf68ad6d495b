"""The set-up page: what it shows, what it refuses, and what the certificate needs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from edge.core.types import Reason, Verdict
from edge.exchange.health import ByHand, Commissioning, DryPart, Health, SelfTest, Sight, State
from edge.web.server import create_app
from edge.web.setup.certificate import certificate_path, unproven
from tests.edge.web.standin import StandIn

BEGUN = datetime(2026, 1, 1, 6, tzinfo=UTC)
GOODS, BADS, OUTPUT = list(range(1, 11)), [11], "gpio 0"


def trials(**changes: Any) -> list[DryPart]:
    goods = [DryPart(id=one, would=Verdict.OK, reason=Reason.SCORE, total_ms=10.0 + one) for one in GOODS]
    return [*goods, DryPart(id=11, would=Verdict.NG, reason=Reason.SCORE, total_ms=30.0).model_copy(update=changes)]


HANDS = [ByHand(output=OUTPUT, verdict=one, at=BEGUN) for one in (*Verdict, None)]


def proven(station: StandIn, **changes: Any) -> Health:
    """Return the health of a station that is set up and lacks nothing, apart from the changes."""
    facts = {
        "who": "Anna", "since": BEGUN, "baseline_at": BEGUN, "baseline_detail": "20 pictures", "trials": trials(),
        "by_hand": HANDS,
    } | changes  # fmt: skip
    station.says = {
        "commissioning": Commissioning.model_validate(facts),
        "commissioned": True,
        "recipe": "default",
        "self_test": SelfTest(at=BEGUN + timedelta(minutes=1), passed=True),
        "sight": Sight(at=BEGUN, width=640, height=480, focus=90.0, exposure=120.0, clipped=0.0),
    }
    return station.health(State.COMMISSIONING)


def test_a_set_up_that_proved_everything_lacks_nothing(station: StandIn) -> None:
    assert unproven(proven(station), GOODS, BADS, [OUTPUT]) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trials": trials(would=Verdict.OK)}, "part 11 is bad, and would be OK"),
        ({"trials": trials(would=Verdict.ERROR, reason=Reason.LATE)}, "would be ERROR/late"),
        ({"trials": trials()[1:]}, "part 1 is not one of this dry run"),
        ({"by_hand": []}, "OK, NG, ERROR and the safe state have not all been set by hand"),
        ({"by_hand": HANDS[:2] + HANDS[3:]}, "OK, NG, ERROR and the safe state have not all been set by hand"),
        ({"baseline_at": BEGUN + timedelta(hours=1)}, "the self-test is older than the baseline"),
    ],
    ids=["bad part passes", "late", "unknown part", "outputs", "one output", "self-test before baseline"],
)
def test_what_is_not_proven_is_named(station: StandIn, changes: dict[str, Any], says: str) -> None:
    lacks = unproven(proven(station, **changes), GOODS, BADS, [OUTPUT])
    assert len(lacks) == 1
    assert says in lacks[0]


@pytest.mark.parametrize(("goods", "bads"), [(GOODS[:9], BADS), (GOODS, []), ([*GOODS[:9], 9], BADS)])
def test_ten_good_parts_and_a_bad_one_are_needed_each_once(station: StandIn, goods: list[int], bads: list[int]) -> None:
    assert any("are needed" in line for line in unproven(proven(station), goods, bads, []))


def test_one_part_cannot_be_good_and_bad(station: StandIn) -> None:
    lacks = unproven(proven(station), [*GOODS, 11], BADS, [])
    assert "part 11 cannot be good and bad" in lacks


@pytest.fixture
def client(station: StandIn) -> FlaskClient:
    station.config.state_dir.mkdir(parents=True, exist_ok=True)
    return create_app(station.config).test_client()


def test_the_certificate_holds_the_measured_latency_and_is_shown(client: FlaskClient, station: StandIn) -> None:
    proven(station)
    answer = client.post("/api/set-up/certificate", json={"who": "Anna", "goods": GOODS, "bads": BADS})
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["latency_ms"] == {"n": 11, "median": 16.0, "max": 30.0}
    assert json.loads(certificate_path(station.config, "default").read_bytes()) == answer.get_json()
    assert client.get("/api/set-up").get_json()["certificate"] == answer.get_json()


def test_without_a_proof_no_certificate_is_written(client: FlaskClient, station: StandIn) -> None:
    proven(station)
    answer = client.post("/api/set-up/certificate", json={"who": "Anna", "goods": GOODS[:3], "bads": []})
    assert answer.status_code == 409
    assert not certificate_path(station.config, "default").exists()


def test_a_dragged_region_is_a_line_of_the_recipe(client: FlaskClient, station: StandIn) -> None:
    proven(station)
    region = {"x": 10, "y": 20, "width": 300, "height": 200}
    answer = client.post("/api/set-up/region", json={"who": "Anna", **region})
    assert answer.get_json()["line"] == "crop = { x = 10, y = 20, width = 300, height = 200 }"
    stored = client.get("/api/set-up").get_json()["region"]
    assert {key: stored[key] for key in region} == region


@pytest.mark.parametrize(
    "changes", [{"x": 500}, {"width": 641}, {"x": -1}, {"height": 3}, {"y": 1.5}, {"x": "here"}], ids=str
)
def test_a_region_that_is_none_is_refused(client: FlaskClient, station: StandIn, changes: dict[str, Any]) -> None:
    proven(station)
    region = {"x": 10, "y": 20, "width": 300, "height": 200} | changes
    answer = client.post("/api/set-up/region", json={"who": "Anna", **region})
    assert answer.status_code == 400
    assert client.get("/api/set-up").get_json()["region"] is None


@pytest.mark.parametrize("verdict", ["OK", "NG", "ERROR", "safe"])
def test_no_output_is_set_by_hand_while_the_line_runs(client: FlaskClient, station: StandIn, verdict: str) -> None:
    station.health()
    answer = client.post("/api/set-up/output", json={"who": "Anna", "output": OUTPUT, "verdict": verdict})
    assert answer.status_code == 409
    assert "only while the station is set up" in answer.get_json()["error"]


@pytest.mark.parametrize("verdict", ["", "ok", None, 1, ["OK"], {"OK": 1}])
def test_an_unknown_verdict_is_refused(client: FlaskClient, station: StandIn, verdict: object) -> None:
    proven(station)
    answer = client.post("/api/set-up/output", json={"who": "Anna", "output": OUTPUT, "verdict": verdict})
    assert answer.status_code == 400


def test_the_page_shows_what_the_camera_sees_during_its_fault(client: FlaskClient, station: StandIn) -> None:
    proven(station)
    station.says["commissioning"] = None
    station.health(State.CAMERA_FAULT, "the view moved")
    told = client.get("/api/set-up").get_json()
    assert (told["state"], told["sight"]["focus"], told["commissioning"]) == ("camera_fault", 90.0, None)
