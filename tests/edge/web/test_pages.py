from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from edge.core.types import Reason
from edge.exchange.health import State
from tests.edge.web.standin import StandIn, part_image


def test_the_verdict_is_there_before_any_script_runs(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(defect=True))
    station.health()
    html = client.get("/").text
    assert 'id="verdict" data-kind="ng"' in html
    assert "Take the part out" in html


def test_a_dead_engine_is_named_with_its_hour_and_no_verdict(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    gone = datetime.now(UTC) - timedelta(minutes=5)
    station.health(written_at=gone)
    html = client.get("/").text
    assert "Engine not running since" in html
    assert f"{gone:%H:%M:%S} UTC" in html
    assert 'data-kind="ok"' not in html.split('class="tiles"')[0]


def test_a_camera_fault_looks_like_neither_a_defect_nor_an_error(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(defect=True))
    station.health(State.CAMERA_FAULT, "read timed out")
    html = client.get("/").text
    assert 'id="verdict" data-kind="camera"' in html
    assert "read timed out" in html


def test_the_detail_page_shows_every_stage_and_area(station: StandIn, client: FlaskClient) -> None:
    found = station.inspect(part_image(defect=True))
    html = client.get("/inspections/1").text
    for text in ("Wait for the frame", "Crop and resize", "Model", "Decide", "Tell the line", station.bundle.title):
        assert text in html
    assert html.count('<th scope="row">1 anomaly') == 1
    assert f"{found.regions[0].w} × {found.regions[0].h}" in html


def test_a_part_without_picture_or_score_has_a_page_too(station: StandIn, client: FlaskClient) -> None:
    station.fail(Reason.NO_FRAME, "no frame within 100 ms")
    html = client.get("/inspections/1").text
    assert "No picture was kept" in html
    assert "no frame within 100 ms" in html


def test_neighbours_are_linked_and_the_ends_are_not(station: StandIn, client: FlaskClient) -> None:
    for _ in range(3):
        station.fail(Reason.LATE, "")
    assert 'rel="prev"' not in client.get("/inspections/1").text
    middle = client.get("/inspections/2").text
    assert 'href="/inspections/1"' in middle
    assert 'href="/inspections/3"' in middle
    assert 'rel="next"' not in client.get("/inspections/3").text


@pytest.mark.parametrize(("path", "kind"), [("/nothing", "text/html"), ("/api/nothing", "application/json")])
def test_people_get_a_page_and_programs_json(client: FlaskClient, path: str, kind: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.mimetype) == (404, kind)
    assert response.headers["Cache-Control"] == "no-store"


def test_pages_with_a_token_are_not_kept_by_caches(client: FlaskClient) -> None:
    assert client.get("/").headers["Cache-Control"] == "no-store"
