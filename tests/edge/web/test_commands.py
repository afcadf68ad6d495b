from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from edge.config.station import StationConfig
from edge.core.types import Verdict
from edge.exchange.health import State
from edge.web.server import create_app
from tests.edge.web.standin import StandIn, all_commands, part_image

POSTS = [("/api/trigger", {}), ("/api/recipe", {"recipe": "washer"}), ("/api/selftest", {})]


@pytest.fixture
def willing(station: StandIn) -> StandIn:
    """A running station that takes every command."""
    station.inspect(part_image())
    station.says = all_commands()
    station.start()
    return station


@pytest.mark.parametrize(("defect", "verdict"), [(False, "OK"), (True, "NG")])
def test_a_software_trigger_answers_with_the_part_it_made(
    willing: StandIn, client: FlaskClient, defect: bool, verdict: str
) -> None:
    willing.part = part_image(5, defect)
    answer = client.post("/api/trigger")
    assert (answer.status_code, answer.get_json()["verdict"]) == (200, verdict)
    row = client.get(f"/api/inspections/{answer.get_json()['id']}").get_json()
    assert (row["id"], row["verdict"]) == (2, verdict)


def test_a_trigger_while_a_part_is_judged_is_told_as_overrun_and_makes_no_row(
    willing: StandIn, client: FlaskClient
) -> None:
    willing.busy = True
    answer = client.post("/api/trigger")
    assert (answer.status_code, answer.get_json()["overrun"]) == (409, True)
    assert "a part is being judged" in answer.get_json()["error"]
    assert client.get("/api/status").get_json()["history"]["total"] == 1


def test_a_station_without_software_trigger_refuses_and_names_its_own(station: StandIn, client: FlaskClient) -> None:
    station.start()
    answer = client.post("/api/trigger")
    assert answer.status_code == 409
    assert "free run 2 Hz" in answer.get_json()["error"]


@pytest.mark.parametrize(
    ("section", "remedies"),
    [
        ({"type": "free_run", "rate_hz": 2.0}, {"type": "software"}),
        ({"type": "gpio", "line": 4}, {"type": "gpio", "line": 4, "page_button": True}),
    ],
)
def test_the_remedy_of_a_refused_trigger_is_one_that_the_configuration_takes(
    station: StandIn, section: dict[str, Any], remedies: dict[str, Any]
) -> None:
    values = station.config.model_dump()
    station.config = StationConfig.model_validate(values | {"trigger": section})
    station.start()
    said = create_app(station.config).test_client().post("/api/trigger").get_json()["error"].partition("; ")[2]
    (setting,) = re.findall(r"trigger\.(\w+) = (\S+)", said)
    assert f"{setting[0]} = {setting[1]}" in {f"{key} = {json.dumps(value)}" for key, value in remedies.items()}
    assert ("take trigger.rate_hz out" in said) is ("rate_hz" in section)
    assert StationConfig.model_validate(values | {"trigger": remedies}).trigger.page_button


@pytest.mark.parametrize("form", ["data", "json"])
def test_a_recipe_is_switched_by_form_and_by_json(willing: StandIn, client: FlaskClient, form: str) -> None:
    answer = client.post("/api/recipe", **{form: {"recipe": "washer"}})
    assert (answer.status_code, answer.get_json()["recipe"]) == (200, "washer")
    assert client.get("/api/status").get_json()["commands"]["recipe"] == "washer"


def test_a_recipe_that_fails_leaves_the_old_one_and_says_why(willing: StandIn, client: FlaskClient) -> None:
    answer = client.post("/api/recipe", data={"recipe": "broken"})
    assert answer.status_code == 409
    assert "sha256" in answer.get_json()["error"]
    assert answer.get_json()["recipe"] == "default"


@pytest.mark.parametrize("name", ["unknown", "../default", "washer\n", "x" * 65, "", None, 3, ["washer"]])
def test_a_recipe_that_is_not_offered_never_reaches_the_engine(
    willing: StandIn, client: FlaskClient, name: object
) -> None:
    assert client.post("/api/recipe", json={"recipe": name}).status_code == 400
    assert client.get("/api/status").get_json()["commands"]["recipe"] == "default"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'"washer"'])
def test_a_body_that_is_no_command_is_one_clear_line(willing: StandIn, client: FlaskClient, body: bytes) -> None:
    answer = client.post("/api/recipe", data=body, content_type="application/json")
    assert (answer.status_code, "send the recipe's name" in answer.get_json()["error"]) == (400, True)


def test_a_command_as_large_as_a_picture_is_refused(willing: StandIn, client: FlaskClient) -> None:
    answer = client.post("/api/recipe", data=b"x" * 2000, content_type="application/json")
    assert answer.status_code == 413


def test_a_self_test_answers_with_its_result(willing: StandIn, client: FlaskClient) -> None:
    answer = client.post("/api/selftest").get_json()
    assert (answer["passed"], answer["text"]) == (True, "The self-test passed: 1 of 1 references reproduced")


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_without_an_engine_nothing_is_done_and_that_is_said(
    station: StandIn, client: FlaskClient, path: str, body: dict[str, str]
) -> None:
    for state in (None, State.STOPPED, State.STARTING):
        if state is not None:
            station.says = all_commands()
            station.health(state)
        answer = client.post(path, data=body)
        assert (answer.status_code, "nothing was done" in answer.get_json()["error"]) == (503, True)


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_a_command_from_another_site_is_refused(
    willing: StandIn, client: FlaskClient, path: str, body: dict[str, str]
) -> None:
    assert client.post(path, data=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get(path).status_code == 405
    assert sum(willing.counts.values()) == 1
    assert set(willing.counts) == set(Verdict)


def test_only_what_the_station_has_is_offered(station: StandIn, client: FlaskClient) -> None:
    nothing = {"trigger": False, "recipes": [], "recipe": None, "selftest": False}
    assert client.get("/api/status").get_json()["commands"] == nothing
    station.health()
    assert client.get("/api/status").get_json()["commands"] == nothing
    station.says = {"recipe": "default", "recipes": ["default"]}
    station.health()
    assert client.get("/api/status").get_json()["commands"]["recipes"] == [], "one recipe is no choice"
    station.says = all_commands()
    station.health(State.STARTING)
    assert client.get("/api/status").get_json()["commands"] == nothing
    station.health()
    assert client.get("/api/status").get_json()["commands"]["recipes"] == ["default", "washer", "broken"]
