"""The OpenAPI document is whole, and the page keeps to it whatever a program sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from edge.inference.bundle import Bundle
from edge.people.roles import Role
from edge.people.store import People
from edge.web.access.rights import EVERYBODY_MAY, RIGHTS
from edge.web.server import create_app
from edge.web.views.openapi import BODIES, FORMS, QUERIES, document
from tests.edge.web.standin import StandIn, all_commands, part_image

TIMES = st.datetimes().map(lambda at: f"{at.isoformat(timespec='seconds')}Z")
LAX = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[Flask]:
    """The page of a station with two parts, whose engine has stopped."""
    station = StandIn(tmp_path_factory.mktemp("described") / "station", tiny_bundle)
    station.inspect(part_image())
    station.inspect(part_image(defect=True))
    yield create_app(station.config)
    station.stop()


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[tuple[Flask, dict[str, str]]]:
    """The page of a station whose engine obeys and which knows people; and an engineer's token as headers."""
    station = StandIn(tmp_path_factory.mktemp("peopled") / "station", tiny_bundle)
    station.says = all_commands()
    station.inspect(part_image())
    station.inspect(part_image(defect=True))
    station.start()
    people = People(station.config.page_dir)
    people.add("Erna", Role.ENGINEER)
    token = people.add_token("program", Role.ENGINEER)
    yield create_app(station.config), {"Authorization": f"Bearer {token}"}
    people.close()
    station.stop()


def operations(app: Flask) -> list[tuple[str, str, dict[str, Any]]]:
    paths = document(app)["paths"]
    return [(method, path, one) for path, methods in paths.items() for method, one in methods.items()]


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what a schema allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date-time":
        return TIMES.filter(lambda text: re.search(schema.get("pattern", ""), text))
    if schema["type"] == "number":
        return st.floats(allow_nan=False, allow_infinity=False)
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    return st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)


def test_the_document_is_the_one_that_is_served_and_every_reference_in_it_is_there(app: Flask) -> None:
    served = app.test_client().get("/api/openapi.json").get_json()
    assert served["openapi"].startswith("3.1")
    named = set(re.findall(r"#/components/schemas/(\w+)", str(served)))
    assert named <= set(served["components"]["schemas"])
    assert "Health" in named


def test_every_route_for_programs_is_in_the_document_with_its_role(app: Flask) -> None:
    found = {one["operationId"]: one for _, _, one in operations(app)}
    routes = {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/")}
    assert routes <= set(found)
    for endpoint, one in found.items():
        role = RIGHTS[endpoint]
        assert one["x-role"] == (role.value if role else None)
        assert bool(one["security"]) == (endpoint not in EVERYBODY_MAY)
        assert one["summary"].endswith(".")
    assert (set(QUERIES) | set(FORMS) | set(BODIES)) <= set(found)


def test_every_parameter_of_the_document_is_known_to_its_route(app: Flask) -> None:
    client = app.test_client()
    for method, path, one in operations(app):
        for parameter in one["parameters"]:
            if parameter["in"] == "query":
                answer = client.open(path, method=method, query_string={parameter["name"]: "?"})
                assert (answer.status_code, answer.get_json()["error"].split(":")[0]) == (400, parameter["name"])


def test_the_main_answers_have_the_fields_of_the_document_and_no_other_ones(station: StandIn) -> None:
    station.fill(45)
    station.says = all_commands()
    station.start()
    client = create_app(station.config).test_client()
    client.post("/api/order", json={"order": "4711", "who": "Anna"})
    for part, opinion in ((7, "bad"), (6, "good"), (8, "unsure")):
        client.post("/api/reviews", json={"part": part, "opinion": opinion, "who": "Anna"})
    client.post("/api/limit", json={"before": 50, "after": 52, "who": "Anna", "reason": "rust"})
    described = client.get("/api/openapi.json").get_json()
    asked = {
        "/api/inspections": "?inline=1", "/api/inspections/{inspection_id}": "", "/api/report": "", "/api/shift": "",
        "/api/reviews/queue": "", "/api/reviews": "", "/api/limit": "?at=3", "/api/bundles": "",
    }  # fmt: skip
    for path, query in asked.items():
        answer = client.get(path.replace("{inspection_id}", "7") + query)
        schema = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema["additionalProperties"] is False
        whole = schema | {"components": described["components"]}
        assert [str(one) for one in jsonschema_rs.validator_for(whole).iter_errors(answer.get_json())] == [], path


def test_the_document_names_each_file_to_load_and_each_refusal(app: Flask) -> None:
    found = {path: one for method, path, one in operations(app) if method == "get"}
    assert {"/reviewed.zip", "/diagnostics.zip", "/references/{digest}/{number}"} <= set(found)
    for _, _, one in operations(app):
        assert "default" not in one["responses"]
    signing_in = next(one for _, path, one in operations(app) if path == "/api/sign-in")
    assert {"400", "401", "403", "409", "413", "429"} <= set(signing_in["responses"])


def sent(client: FlaskClient, method: str, path: str, **facts: Any) -> int:
    """Send a request as a program does, and return the status; a refusal is one line."""
    with client.open(path, method=method.upper(), **facts) as answer:
        if answer.status_code >= 400 and path.startswith("/api/"):
            assert "\n" not in answer.get_json()["error"]
        assert answer.status_code != 500
        return answer.status_code


@LAX
@given(st.data())
def test_what_the_document_allows_is_never_a_wrong_parameter(app: Flask, data: st.DataObject) -> None:
    method, path, one = data.draw(st.sampled_from([each for each in operations(app) if each[0] == "get"]))
    query = {}
    for parameter in one["parameters"]:
        value = data.draw(values(parameter["schema"]))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(str(value)))
        elif data.draw(st.booleans()) and parameter["name"] not in {"from", "to"}:
            query[parameter["name"]] = str(value)
    assert sent(app.test_client(), method, path, query_string=query) in {200, 304, 404, 503}


@LAX
@given(st.data(), st.binary(max_size=200), st.binary(max_size=40))
def test_random_bytes_are_refused_and_never_break_the_page(
    app: Flask, data: st.DataObject, body: bytes, noise: bytes
) -> None:
    method, path, one = data.draw(st.sampled_from(operations(app)))
    path = re.sub(r"{\w+}", lambda _: quote(noise) or "-", path)
    query = {
        parameter["name"]: noise.decode("latin-1") for parameter in one["parameters"] if parameter["in"] == "query"
    }
    kind = data.draw(
        st.sampled_from(
            ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
        )
    )
    sent(app.test_client(), method, path, query_string=query, data=body, content_type=kind)


@LAX
@given(st.data())
def test_any_json_is_a_form_or_is_refused_in_one_line(app: Flask, data: st.DataObject) -> None:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
    method, path, _ = data.draw(st.sampled_from([each for each in operations(app) if each[0] == "post"]))
    keys = st.sampled_from(["name", "secret", "code", "role", "recipe"]) | st.text(max_size=5)
    body = data.draw(st.dictionaries(keys, plain, max_size=4) | st.lists(plain, max_size=2) | plain)
    sent(app.test_client(), method, path, json=body)


# What the station's state decides (is this recipe there?), further fields, and a header that is sent beside the case.
NOT_CHECKED = [checks.positive_data_acceptance, checks.negative_data_rejection, checks.ignored_auth]


# Its client closes no file that it is sent.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_answer_to_right_and_wrong_requests_is_one_that_the_document_describes(
    peopled: tuple[Flask, dict[str, str]],
) -> None:
    """schemathesis makes both kinds of requests of the served document, the same ones each time."""
    app, token = peopled
    tried = set()
    for found in schemathesis.openapi.from_wsgi("/api/openapi.json", app, headers=token).get_all_operations():
        operation = found.ok()
        cases = operation.as_strategy(GenerationMode.POSITIVE) | operation.as_strategy(GenerationMode.NEGATIVE)

        @settings(max_examples=3, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(cases)
        def keeps_to_the_document(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=token, excluded_checks=NOT_CHECKED)

        keeps_to_the_document()
        tried.add((operation.method, operation.path))
    assert tried == {(method, path) for method, path, _ in operations(app)} - {("get", "/api/openapi.json")}
