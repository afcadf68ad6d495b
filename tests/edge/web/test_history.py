from __future__ import annotations

from base64 import b64decode

import pytest
from flask.testing import FlaskClient

from edge.core.types import Reason
from edge.history.pictures import picture_path
from tests.edge.web.standin import StandIn, part_image


@pytest.fixture
def filled(station: StandIn) -> StandIn:
    """Five rows: OK, NG, ERROR, OK, NG."""
    for defect in (False, True, None, False, True):
        if defect is None:
            station.fail(Reason.NO_FRAME, "no frame")
        else:
            station.inspect(part_image(defect=defect))
    return station


def ids(client: FlaskClient, query: str) -> list[int]:
    return [row["id"] for row in client.get(f"/api/inspections{query}").get_json()["inspections"]]


def test_rows_come_newest_first_and_pages_join_without_gap(filled: StandIn, client: FlaskClient) -> None:
    first = client.get("/api/inspections?limit=2").get_json()
    assert [row["id"] for row in first["inspections"]] == [5, 4]
    assert ids(client, f"?limit=200&before={first['next_before']}") == [3, 2, 1]


def test_the_last_page_says_that_it_is_the_last(filled: StandIn, client: FlaskClient) -> None:
    assert client.get("/api/inspections?limit=5").get_json()["next_before"] is None
    assert client.get("/api/inspections?limit=4").get_json()["next_before"] == 2


def test_rows_after_one_that_is_known_are_the_newer_ones(filled: StandIn, client: FlaskClient) -> None:
    assert ids(client, "?after=3") == [5, 4]
    assert client.get("/api/inspections?after=3&limit=1").get_json()["next_before"] == 5, "there is one more"
    assert client.get("/api/inspections?after=3&limit=2").get_json()["next_before"] is None


def test_a_row_may_bring_its_small_picture_with_it(filled: StandIn, client: FlaskClient) -> None:
    found = client.get("/api/inspections?inline=1").get_json()["inspections"]
    assert found[2]["pictures"]["thumb"] is None, "of no frame there is no picture"
    kind, _, text = found[0]["pictures"]["thumb"].partition(",")
    assert (kind, b64decode(text)) == ("data:image/jpeg;base64", client.get("/pictures/5/thumb").data)


@pytest.mark.parametrize(("verdict", "expected"), [("OK", [4, 1]), ("NG", [5, 2]), ("ERROR", [3])])
def test_a_verdict_filters(filled: StandIn, client: FlaskClient, verdict: str, expected: list[int]) -> None:
    assert ids(client, f"?verdict={verdict}") == expected


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=٣", "limit"),
        ("before=0", "before"),
        ("before=9223372036854775808", "before"),
        ("before=1e3", "before"),
        ("after=-1", "after"),
        ("inline=yes", "inline"),
        ("verdict=ok", "verdict"),
        ("verdict=", "verdict"),
        ("verdict=OK'--", "verdict"),
    ],
)
def test_a_bad_parameter_is_refused_by_name_on_one_line(client: FlaskClient, query: str, name: str) -> None:
    response = client.get(f"/api/inspections?{query}")
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert error.startswith(f"{name}: ")
    assert "\n" not in error


def test_one_row_carries_its_regions_timings_and_pictures(filled: StandIn, client: FlaskClient) -> None:
    row = client.get("/api/inspections/2").get_json()
    assert row["verdict"] == "NG"
    assert row["regions"]
    assert row["timings_ms"]["total"] > 0
    assert row["pictures"] == {kind: f"/pictures/2/{kind}" for kind in ("frame", "heat", "thumb")}


def test_only_a_part_with_a_class_map_has_its_button_and_its_address(filled: StandIn, client: FlaskClient) -> None:
    assert "Class map" not in client.get("/inspections/2").text
    heat = picture_path(filled.config.images_dir, 2, "heat")
    heat.with_name(heat.name.replace("heat", "class")).write_bytes(heat.read_bytes())
    assert client.get("/api/inspections/2").get_json()["pictures"]["class"] == "/pictures/2/class"
    page = client.get("/inspections/2").text
    assert 'data-picture="/pictures/2/class" data-legend="class"' in page
    assert 'id="class-legend" hidden' in page
    with client.get("/pictures/2/class") as response:
        assert response.content_type == "image/jpeg"
    assert client.get("/pictures/1/class").status_code == 404


def test_pictures_that_were_not_kept_are_null(filled: StandIn, client: FlaskClient) -> None:
    assert client.get("/api/inspections/3").get_json()["pictures"] == {"frame": None, "heat": None, "thumb": None}


@pytest.mark.parametrize("number", ["6", "0", "9223372036854775807", "9223372036854775808", "-1", "1.5", "x"])
def test_an_unknown_row_is_404_in_json(filled: StandIn, client: FlaskClient, number: str) -> None:
    response = client.get(f"/api/inspections/{number}")
    assert response.status_code == 404
    assert "\n" not in response.get_json()["error"]


def test_without_a_history_lists_are_empty_and_rows_unknown(client: FlaskClient) -> None:
    assert client.get("/api/inspections").get_json() == {"inspections": [], "next_before": None}
    assert client.get("/api/inspections/1").status_code == 404
    assert client.get("/inspections/1").status_code == 404
