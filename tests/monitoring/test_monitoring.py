"""docs/examples/monitoring: rules and a dashboard that ask for what stations export; a Prometheus that takes them."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.core.types import Reason, Verdict
from edge.engine.metrics import Metrics
from edge.web.station import EngineState, EngineView
from edge.web.views.monitoring import CONTENT_TYPE, up_lines
from tests.edge.engine.parts import inspection
from tests.edge.exchange.test_health import health
from tests.edge.web.conftest import free_port

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "monitoring"
RULES, DASHBOARD = FOLDER / "rules.yml", FOLDER / "grafana.json"
HANG_S = 60.0

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


def exported(name: str) -> str:
    """Return what the page of a station answers to a Prometheus."""
    metrics = Metrics(f"{name} 1 0")
    metrics.add(inspection(1, verdict=Verdict.OK))
    metrics.add(replace(inspection(2, verdict=Verdict.ERROR), reason=Reason.NO_FRAME))
    engine = EngineView(EngineState.RUNNING, None, 0.1, "")
    return up_lines({"": engine}) + metrics.text(health(), 0).decode()


def series() -> set[str]:
    """Return every name that a query can ask for."""
    named = {sample.name for family in text_string_to_metric_families(exported("a")) for sample in family.samples}
    documented = (FOLDER.parents[1] / "reference" / "metrics.md").read_text()
    return named | set(re.findall(r"`(linewatch_output_\w+)`", documented))  # the stand-in has no output


def asked(expression: str) -> set[str]:
    return set(re.findall(r"\b(linewatch_[a-z0-9_]+)", expression))


def expressions() -> list[str]:
    rules = re.findall(r"^ +expr: (.*)$", RULES.read_text(), re.MULTILINE)
    return rules + [
        target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]
    ]


def test_rules_and_dashboard_ask_for_nothing_that_no_station_exports() -> None:
    names = series()
    assert len(expressions()) >= 20
    assert {one: sorted(asked(one) - names) for one in expressions() if asked(one) - names} == {}


def test_a_recorded_series_is_recorded_before_it_is_asked_for() -> None:
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    assert {name for one in expressions() for name in re.findall(r"linewatch:[\w:]+", one)} <= recorded


def test_panels_have_a_place_and_a_number_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie on each other"
    assert max(x for x, _ in cells) < 24


@needs_promtool
@pytest.mark.parametrize("what", [["check", "config", "prometheus.yml"], ["test", "rules", "rules.test.yml"]])
def test_promtool_finds_nothing_wrong(what: list[str]) -> None:
    done = subprocess.run(["promtool", *what], cwd=FOLDER, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def stations() -> Iterator[list[str]]:
    """Give the addresses of two servers that answer as the pages of stations do."""

    def serve(name: str) -> ThreadingHTTPServer:
        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exported(name).encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Page)

    servers = [serve("a"), serve("b")]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [f"127.0.0.1:{server.server_port}" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(port: int, query: str) -> list[dict[str, object]]:
    """Return what a Prometheus finds; nothing while it does not answer yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)
    try:
        connection.request("GET", f"/api/v1/query?query={quote(query)}")
        found = connection.getresponse()
        body = found.read()
        return list(json.loads(body)["data"]["result"]) if found.status == 200 else []
    except OSError:
        return []
    finally:
        connection.close()


@needs_prometheus
def test_a_prometheus_reads_two_stations_and_their_rules(tmp_path: Path, stations: list[str]) -> None:
    port = free_port()
    config = (FOLDER / "prometheus.yml").read_text()
    config = config.replace('["192.168.10.11:8080", "192.168.10.12:8080"]', json.dumps(stations)).replace("15s", "1s")
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(RULES, tmp_path)
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path) as prometheus:
        try:
            give_up = time.monotonic() + HANG_S
            query = 'linewatch_inspections_total{reason="no_frame"}'
            while len(found := answer(port, query)) < 2 and time.monotonic() < give_up:
                time.sleep(0.1)
            assert {one["metric"]["instance"] for one in found} == set(stations)  # type: ignore[index]
            assert len(answer(port, "linewatch_engine_up == 1")) == 2
        finally:
            prometheus.terminate()
