"""docs/examples/monitoring: rules and a dashboard that ask for what stations export; a Prometheus that takes them."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.core.files import write_atomically
from edge.core.types import Reason, Verdict
from edge.engine.metrics import Metrics
from edge.exchange.health import METRICS, Health, State
from edge.inference.bundle import Bundle
from edge.people.roles import Role
from edge.people.store import People
from edge.web.station import EngineState, EngineView
from edge.web.views.monitoring import up_lines
from tests.edge.engine.parts import inspection
from tests.edge.exchange.test_health import health
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn
from tests.edge.web.test_server import page_process

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "monitoring"
RULES, DASHBOARD = FOLDER / "rules.yml", FOLDER / "grafana.json"
HANG_S = 60.0

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


def metrics(name: str) -> Metrics:
    """Return the metrics of an engine that judged two parts."""
    found = Metrics(f"{name} 1 0")
    found.add(inspection(1, verdict=Verdict.OK))
    found.add(replace(inspection(2, verdict=Verdict.ERROR), reason=Reason.NO_FRAME))
    return found


def exported() -> str:
    """Return what the page of a station answers to a Prometheus."""
    engine = EngineView(EngineState.RUNNING, None, 0.1, "")
    return up_lines({"": engine}) + metrics("a").text(health(), 0).decode()


def series() -> set[str]:
    """Return every name that a query can ask for."""
    named = {sample.name for family in text_string_to_metric_families(exported()) for sample in family.samples}
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


class Exporting(StandIn):
    """A station that exports what an engine exports."""

    def health(self, state: State = State.RUNNING, detail: str = "", written_at: datetime | None = None) -> Health:
        told = super().health(state, detail, written_at)
        write_atomically(self.config.run_dir / METRICS, metrics(self.config.name).text(told, 0), durable=False)
        return told


@pytest.fixture
def stations(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[dict[str, str]]:
    """Serve the pages of two stations on which people are set up; gives addresses, each with a viewer's token."""
    tokens: dict[str, str] = {}
    with ExitStack() as stack:
        for name in ("left", "right"):
            station = Exporting(tmp_path / name, tiny_bundle, name, free_port())
            station.config.page_dir.mkdir()
            people = People(station.config.page_dir)
            people.add("Anna", Role.ENGINEER)
            tokens[f"127.0.0.1:{station.config.page.port}"] = people.add_token("prometheus", Role.VIEWER)
            people.close()
            station.start()
            stack.callback(station.stop)
            stack.enter_context(page_process(station.config))
        yield tokens


def scraping(tokens: dict[str, str], folder: Path) -> str:
    """Return the example's prometheus.yml with a job for each station, and one that comes without a token."""
    begin, job, end = (FOLDER / "prometheus.yml").read_text().partition("  - job_name: linewatch\n")
    plain = [line for line in end.splitlines(keepends=True) if "#" not in line]
    signed = [
        line.replace("# ", "") for line in end.splitlines(keepends=True) if "authorization" in line or "_file" in line
    ]
    jobs = [job + "".join(plain)]
    for number, (address, token) in enumerate(tokens.items()):
        (folder / f"{number}.token").write_text(f"{token}\n")
        told = "".join([*plain, *signed]).replace("/etc/prometheus/linewatch-NAME.token", f"{folder}/{number}.token")
        jobs.append(re.sub(r"targets: .*", f'targets: ["{address}"]', job.replace("\n", f"-{number}\n") + told))
    targets = re.sub(r"targets: .*", f"targets: {json.dumps(list(tokens))}", jobs[0])
    return (begin + targets + "".join(jobs[1:])).replace("15s", "1s")


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
def test_a_prometheus_reads_two_pages_each_with_its_token_and_none_without(
    tmp_path: Path, stations: dict[str, str]
) -> None:
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(scraping(stations, tmp_path))
    shutil.copy(RULES, tmp_path)
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path) as prometheus:
        try:
            query, give_up = 'linewatch_inspections_total{reason="no_frame"}', time.monotonic() + HANG_S
            refused = 'up{job="linewatch"} == 0'
            while min(len(answer(port, one)) for one in (query, refused)) < 2 and time.monotonic() < give_up:
                time.sleep(0.1)
            assert instances(port, query) == instances(port, refused) == set(stations)
            assert instances(port, 'up{job!="linewatch"} == 1 and linewatch_engine_up == 1') == set(stations)
        finally:
            prometheus.terminate()


def instances(port: int, query: str) -> set[object]:
    return {one["metric"]["instance"] for one in answer(port, query)}  # type: ignore[index]
