from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.test import Client

from edge.config.station import ConfigError
from edge.exchange.health import State
from edge.inference.bundle import Bundle
from edge.web.server import create_page
from tests.edge.web.standin import StandIn, all_commands, part_image
from tests.edge.web.test_guard import TOKEN


@dataclass
class Pair:
    first: StandIn
    second: StandIn
    client: Client


@pytest.fixture
def pair(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[Pair]:
    """Two stations of the same name, one page; the first has inspected a good part, the second a bad one."""
    first, second = (StandIn(tmp_path / place, tiny_bundle, "Line 3 (left)") for place in ("one", "two"))
    first.inspect(part_image())
    second.inspect(part_image(defect=True))
    first.show_also(second.write_toml(tmp_path / "two.toml"))
    client = Client(create_page(first.config))  # before the engines' word, which soon is old
    for station in (first, second):
        station.health()
    yield Pair(first, second, client)
    for station in (first, second):
        station.stop()


def test_each_station_has_a_tile_and_a_place_of_its_own(pair: Pair) -> None:
    tiles = pair.client.get("/api/stations").get_json()["stations"]
    assert [tile["path"] for tile in tiles] == ["/stations/line-3-left", "/stations/line-3-left-2"]
    assert [tile["display"]["headline"] for tile in tiles] == ["OK", "NG"]
    for tile in tiles:
        assert pair.client.get(tile["picture"], buffered=True).mimetype == "image/jpeg"


def test_below_its_place_a_station_is_the_page_that_it_would_be_alone(pair: Pair) -> None:
    place = "/stations/line-3-left-2"
    html = pair.client.get(f"{place}/").text
    assert 'id="verdict" data-kind="ng"' in html
    assert f'data-root="{place}"' in html
    row = pair.client.get(f"{place}/api/inspections").get_json()["inspections"][0]
    assert row["verdict"] == "NG"
    assert pair.client.get(row["pictures"]["heat"], buffered=True).status_code == 200
    assert pair.client.get(f"{place}/inspections/1").status_code == 200
    assert pair.client.get(f"{place}/history").status_code == 200


def test_a_command_reaches_the_station_that_it_is_for_and_no_other(pair: Pair) -> None:
    for station in (pair.first, pair.second):
        station.says = all_commands()
        station.start()
    token = TOKEN.search(pair.client.get("/stations/line-3-left-2/").text)
    assert token
    answer = pair.client.post("/stations/line-3-left-2/api/trigger", headers={"X-CSRF-Token": token[1]})
    assert answer.status_code == 200
    assert (sum(pair.first.counts.values()), sum(pair.second.counts.values())) == (1, 2)


def test_a_dead_engine_does_not_darken_the_others(pair: Pair) -> None:
    pair.first.health(written_at=datetime.now(UTC) - timedelta(minutes=5))
    tiles = pair.client.get("/api/stations").get_json()["stations"]
    assert [tile["display"]["headline"] for tile in tiles] == ["NO ENGINE", "NG"]
    pair.second.config.events_db.write_bytes(b"damaged" * 400)
    assert pair.client.get("/").status_code == 200


def test_monitoring_sees_each_engine_by_its_place(pair: Pair) -> None:
    pair.second.health(State.STOPPED)
    families = text_string_to_metric_families(pair.client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == "linewatch_engine_up"]
    assert [(sample.labels["station"], sample.value) for sample in samples] == [
        ("/stations/line-3-left", 1),
        ("/stations/line-3-left-2", 0),
    ]
    assert pair.client.get("/healthz").get_json()["page"] == "ok"


@pytest.mark.parametrize("path", ["/", "/api/stations", "/stations/line-3-left/", "/stations/line-3-left/api/status"])
def test_host_names_are_checked_at_every_place(pair: Pair, path: str) -> None:
    answer = pair.client.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/api/status", "/stations/nobody/", "/stations/", "/stations/../api/status"])
def test_there_is_nothing_where_no_station_is(pair: Pair, path: str) -> None:
    assert pair.client.get(path).status_code == 404


def test_a_file_of_another_station_that_is_wrong_is_named_at_the_start(station: StandIn, tmp_path: Path) -> None:
    station.show_also(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
        create_page(station.config)


def test_one_station_has_no_overview(station: StandIn) -> None:
    client = Client(create_page(station.config))
    assert 'id="verdict"' in client.get("/").text
    assert "All</span>" not in client.get("/").text
    assert client.get("/api/stations").status_code == 404
