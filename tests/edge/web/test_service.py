"""The page Service: faults with remedies, checks, storage, versions, diagnostics without a secret."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient

from edge.config.load import load_config
from edge.core.types import Reason
from edge.exchange.health import StoredPictures, read_health
from edge.history.pictures import INPUT, picture_path
from edge.inference.bundle import Bundle
from edge.people.roles import Role
from edge.people.store import People
from edge.web.server import create_app
from tests.edge.engine.parts import wait_for
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, all_commands, part_image

START = datetime(2026, 3, 4, 6, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A running station: a good part with its pictures, an NG part without, then two faults."""
    station = StandIn(tmp_path_factory.mktemp("line") / "station", tiny_bundle, port=free_port())
    station.inspect(part_image(), START)
    station.inspect(part_image(defect=True), START + timedelta(minutes=1), keep=False)
    for minute in (2, 3, 4):
        station.fail(Reason.NO_FRAME, "no frame within 100 ms", START + timedelta(minutes=minute))
    station.fail(Reason.LATE, "130 ms", START + timedelta(minutes=30))
    station.says = all_commands() | {"pictures": StoredPictures(mb=12.5, oldest_ok=1, oldest_other=2)}
    station.start()
    yield station
    station.stop()


@pytest.fixture
def client(line: StandIn) -> FlaskClient:
    return create_app(line.config).test_client()


def test_faults_of_one_cause_stand_together_with_their_remedy(client: FlaskClient) -> None:
    late, lost = client.get("/api/service").get_json()["faults"]
    assert (late["reason"], late["parts"], late["last_part"]) == ("late", 1, 6)
    assert (lost["reason"], lost["parts"], lost["from"], lost["to"]) == (
        "no_frame", 3, "2026-03-04T06:02:00+00:00", "2026-03-04T06:04:00+00:00",
    )  # fmt: skip
    page = unescape(client.get("/service").text)
    for words in (late["words"], lost["remedy"], "Wed 2026-03-04 06:02 UTC", "3 parts"):
        assert words in page


def test_the_meter_says_how_far_pictures_reach_back(client: FlaskClient) -> None:
    store = client.get("/api/service").get_json()["storage"]
    assert (store["oldest_ok"], store["oldest_other"]) == ("2026-03-04T06:00:00+00:00", "2026-03-04T06:01:00+00:00")
    assert (store["pictures_mb"], store["max_image_mb"], store["rows"]) == (12.5, 2000, 6)
    assert "reach back to <b>Wed 2026-03-04 06:01 UTC</b>" in client.get("/service").text


def test_versions_name_the_programs_and_the_bundle(client: FlaskClient, line: StandIn) -> None:
    found = client.get("/api/service").get_json()["versions"]
    assert found["bundle"] == line.bundle.title
    assert {"linewatch", "Python", "openvino", "signed by"} <= found.keys()


def verified(client: FlaskClient) -> dict[str, str]:
    assert client.post("/api/verify").status_code == 200

    def outcome() -> dict[str, str]:
        found: dict[str, str] = client.get("/api/service").get_json()["verification"]
        return found

    wait_for(lambda: outcome()["state"] != "running")
    return outcome()


def test_the_history_is_followed_on_request(client: FlaskClient) -> None:
    found = verified(client)
    assert (found["state"], found["text"][:43]) == ("whole", "6 rows, none altered, missing or put in; th")


def test_a_row_that_was_altered_is_named(station: StandIn) -> None:
    for _ in range(3):
        station.fail(Reason.LATE, "")
    with closing(sqlite3.connect(station.config.events_db)) as db:
        db.execute("UPDATE inspections SET verdict = 'OK' WHERE id = 2")
        db.commit()
    found = verified(create_app(station.config).test_client())
    assert found["state"] == "wrong"
    assert "row 2 was altered" in found["text"]


def test_a_stored_part_gets_exactly_its_score_again(client: FlaskClient, line: StandIn) -> None:
    before = client.get("/api/service").get_json()["storage"]["rows"]
    found = client.post("/api/replay", json={"part": 1}).get_json()
    assert (found["same"], found["score"]) == (True, found["stored"])
    assert client.get("/api/service").get_json()["storage"]["rows"] == before


def test_a_picture_that_was_changed_is_found(client: FlaskClient, line: StandIn) -> None:
    path = picture_path(line.config.images_dir, 1, INPUT)
    whole = path.read_bytes()
    image = cv2.imread(str(path))
    assert image is not None
    cv2.imwrite(str(path), np.ascontiguousarray(255 - image))
    found = client.post("/api/replay", json={"part": 1}).get_json()
    path.write_bytes(whole)
    assert found["same"] is False
    assert "the picture, the model or the row was changed" in found["text"]


@pytest.mark.parametrize(
    ("part", "status", "words"),
    [
        (99, 404, "there is no inspection 99"),
        (2, 409, "is not stored (any more)"),
        (6, 409, "gave no score"),
        ("-5", 400, "part: must be a whole number"),
        ("../1", 400, "part: must be a whole number"),
    ],
)
def test_a_part_that_cannot_be_judged_again_is_one_line(
    client: FlaskClient, part: object, status: int, words: str
) -> None:
    answer = client.post("/api/replay", json={"part": part})
    assert (answer.status_code, words in answer.get_json()["error"]) == (status, True)


SECRETS = ("hunter2", "s3cret-token", "webhook-key", "mqtt-word", "Olga Ortega", "broker-account")


def test_the_diagnostics_hold_no_secret(line: StandIn, tmp_path: Path) -> None:
    for name, text in (("key", "webhook-key-0123456789"), ("word", "mqtt-word")):
        (tmp_path / name).write_text(text)
    toml = f"""
name = "Cell 4"
bundle = "{line.bundle.path}"
state_dir = "{line.config.state_dir}"
run_dir = "{line.config.run_dir}"
camera = {{ type = "video", source = "rtsp://admin:hunter2@10.0.0.7/live?token=s3cret-token" }}
trigger = {{ type = "free_run", rate_hz = 2 }}
[[output]]
type = "webhook"
url = "https://mes.local/hook?key=s3cret-token"
secret_file = "key"
[[output]]
type = "mqtt"
host = "broker.local"
user = "broker-account"
password_file = "word"
"""
    (tmp_path / "station.toml").write_text(toml)
    line.says["own_limit"] = "Olga Ortega: too strict"
    wait_for(lambda: read_health(line.config.run_dir).own_limit)
    answer = create_app(load_config(tmp_path / "station.toml")).test_client().get("/diagnostics.zip")
    del line.says["own_limit"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as packed:
        texts = {name: packed.read(name).decode() for name in packed.namelist()}
    assert [(name, secret) for name, text in texts.items() for secret in SECRETS if secret in text] == []
    assert json.loads(texts["station.json"])["camera"]["source"] == "rtsp://***@10.0.0.7/..."
    assert "no_frame" in texts["rows.csv"]
    assert json.loads(texts["health.json"])["bundle"] == line.bundle.title


def test_a_station_that_never_ran_has_a_page_and_diagnostics(station: StandIn) -> None:
    client = create_app(station.config).test_client()
    assert "Every part so far got its verdict." in client.get("/service").text
    assert client.get("/diagnostics.zip").status_code == 200
    assert verified(create_app(station.config).test_client())["state"] == "wrong"


def test_only_an_engineer_gets_the_diagnostics(line: StandIn) -> None:
    people = People(line.config.state_dir)
    tokens = {role: people.add_token(f"a {role}", role) for role in (Role.OPERATOR, Role.ENGINEER)}
    people.close()
    client = create_app(line.config).test_client()
    found = [
        client.get("/diagnostics.zip", headers={"Authorization": f"Bearer {token}"}).status_code
        for token in tokens.values()
    ]
    (line.config.state_dir / "people.db").unlink()
    assert found == [403, 200]
