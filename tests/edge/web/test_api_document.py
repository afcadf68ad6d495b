"""docs/reference/api.md is compared with the page: routes, parameters, fields; its curl lines are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from edge.people.roles import Role
from edge.people.store import People
from edge.web.server import create_app, create_page
from tests.edge.web.standin import StandIn, all_commands, encoded, part_image
from tests.edge.web.test_server import HANG_S, page_process
from tests.edge.web.test_trial import post

DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "api.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+ \S+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL))
CONVERTER = re.compile(r"<(?:[^:>]*:)?(?:inspection_)?(\w+)>")
CURL = re.findall(r"^curl .*", "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)), re.MULTILINE)


def routes(app: Flask) -> set[str]:
    return {
        f"{method} " + CONVERTER.sub(r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint != "static"
    }


def test_the_document_names_exactly_the_routes_of_the_page(station: StandIn, tmp_path: Path) -> None:
    alone = create_app(station.config)
    station.show_also(station.write_toml(tmp_path / "again.toml"))
    several = create_page(station.config)
    assert isinstance(several, DispatcherMiddleware)
    assert isinstance(several.app, Flask)
    assert set(SECTIONS) == routes(alone) | routes(several.app)


PARAMETERS = [
    (place, name)
    for place, text in SECTIONS.items()
    for name in re.findall(r"^\| `(\w+)` \| [^|]* \| [^|]*\|$", text, re.MULTILINE)
]


@pytest.mark.parametrize(("place", "name"), PARAMETERS, ids=lambda value: value)
def test_each_parameter_is_known_to_its_route(client: FlaskClient, place: str, name: str) -> None:
    """A value that no parameter allows is refused by name; a name that the route does not know would be ignored."""
    method, path = place.split()
    answer = client.open(path, method=method, query_string={name: "?"})
    assert (answer.status_code, answer.get_json()["error"].split(":")[0]) == (400, name)


def fields(place: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", SECTIONS[place]))


def answers(station: StandIn, client: FlaskClient) -> dict[str, Any]:
    station.inspect(part_image(defect=True))
    station.says = all_commands()
    station.start()
    page = client.get("/api/inspections").get_json()
    limit = client.get("/api/limit").get_json()
    wish = {"before": 50, "after": 52, "who": "Anna", "reason": "rust"}
    return {
        "GET /api/status": client.get("/api/status").get_json(),
        "GET /api/inspections": page | page["inspections"][0] | page["inspections"][0]["regions"][0],
        "GET /api/report": client.get("/api/report").get_json(),
        "GET /healthz": client.get("/healthz").get_json(),
        "POST /api/inspect": post(client, encoded(part_image(), ".png")).get_json(),
        "POST /api/trigger": client.post("/api/trigger").get_json(),
        "POST /api/recipe": client.post("/api/recipe", data={"recipe": "washer"}).get_json(),
        "POST /api/seen": client.post("/api/seen", data={"part": 1}).get_json(),
        "GET /api/reviews/queue": client.get("/api/reviews/queue").get_json(),
        "POST /api/reviews": client.post("/api/reviews", data={"part": 1, "opinion": "bad", "who": "Anna"}).get_json(),
        "GET /api/reviews": client.get("/api/reviews").get_json(),
        "POST /api/selftest": client.post("/api/selftest").get_json(),
        "GET /api/limit": limit | limit["effect"] | limit["guarantee"] | limit["curve"],
        "POST /api/limit": client.post("/api/limit", data=wish).get_json(),
    }


def test_each_field_of_an_answer_is_described(station: StandIn, client: FlaskClient, tmp_path: Path) -> None:
    found = answers(station, client)
    station.show_also(station.write_toml(tmp_path / "again.toml"))
    hall = Client(create_page(station.config)).get("/api/stations").get_json()
    found["GET /api/stations"] = hall | hall["stations"][0]
    for place, answer in found.items():
        assert set(answer) - fields(place) == set(), place


def test_there_is_an_example_of_every_route_for_programs() -> None:
    shown = "\n".join(CURL)
    for place in SECTIONS:
        path = place.split()[1]
        if path.startswith(("/api/", "/history.csv", "/live", "/pictures", "/metrics", "/healthz")):
            address = re.sub(r"\{(\w+)\}", lambda part: {"id": "1", "kind": "heat"}[part[1]], path)
            assert f":8080{address}" in shown or path == "/api/stations", place


def run_as_it_stands(line: str, port: int, folder: Path, **secrets: str) -> None:
    command = line.replace(":8080", f":{port}").replace("curl ", "curl -sS --fail-with-body ", 1)
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=folder,
        env={**os.environ, **secrets},
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def people_of(station: StandIn) -> dict[str, str]:
    """Set up an engineer, an operator with a PIN and one without; return what the document's lines need."""
    people = People(station.config.state_dir)
    people.join(people.add("Erna", Role.ENGINEER), "Erna", "correct horse", "")
    people.join(people.add("Anna", Role.OPERATOR), "Anna", "271828", "")
    secrets = {
        "PIN": "271828",
        "CODE": people.add("Bert", Role.OPERATOR),
        "TOKEN": people.add_token("t", Role.ENGINEER),
    }
    people.close()
    return secrets


def test_every_curl_line_works_as_it_stands(station: StandIn, tmp_path: Path) -> None:
    station.inspect(part_image(defect=True))
    station.says = all_commands()
    station.start()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "part.png").write_bytes(encoded(part_image(), ".png"))
    with page_process(station.config):
        for line in (one for one in CURL if "$" not in one):
            run_as_it_stands(line, station.config.page.port, folder)
        secrets = people_of(station)
        for line in (one for one in CURL if "$" in one):
            run_as_it_stands(line, station.config.page.port, folder, **secrets)
    assert {path.name for path in folder.iterdir()} == {
        "part.png",
        "history.csv",
        "live.jpg",
        "heat.jpg",
        "reviewed.zip",
    }
