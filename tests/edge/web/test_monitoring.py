from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from edge.exchange.health import State
from tests.edge.web.standin import StandIn, part_image


def values(client: FlaskClient) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_a_living_engine_is_up_and_its_metrics_are_passed_on(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    station.health()
    found = values(client)
    assert found["linewatch_engine_up"] == 1
    assert found["linewatch_inspections_total"] == 1


def test_a_dead_engine_is_down_and_its_old_numbers_are_not_passed_on(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    station.health(written_at=datetime.now(UTC) - timedelta(minutes=1))
    found = values(client)
    assert found["linewatch_engine_up"] == 0
    assert "linewatch_inspections_total" not in found


def test_metrics_are_there_before_any_engine(client: FlaskClient) -> None:
    assert values(client) == {"linewatch_engine_up": 0}
    assert client.get("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(("state", "word"), [(None, "absent"), (State.RUNNING, "running"), (State.STOPPED, "stopped")])
def test_healthz_is_200_whatever_the_engine_does(
    station: StandIn, client: FlaskClient, state: State | None, word: str
) -> None:
    if state:
        station.health(state)
    response = client.get("/healthz")
    assert (response.status_code, response.get_json()) == (200, {"page": "ok", "engine": word})
