import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.core.types import Reason, Timings, Verdict
from edge.exchange.health import (
    HEALTH,
    Health,
    HealthError,
    Metrics,
    State,
    Tally,
    read_health,
    sd_notify,
    write_health,
)
from tests.edge.engine.parts import inspection

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def health(**changes: object) -> Health:
    facts: dict[str, object] = {
        "station": "S",
        "state": State.RUNNING,
        "detail": "",
        "pid": 1,
        "written_at": NOW,
        "started_at": NOW,
        "bundle": "tiny 1 0",
        "bundle_path": "/b",
        "threshold": 50.0,
        "runtime": "openvino",
        "cpu_tier": "AVX2",
        "camera": "folder x",
        "camera_fps": 30.0,
        "frame_age_ms": 12.0,
        "trigger": "free run 2 Hz",
        "deadline_ms": 100.0,
        "counts": {"OK": 1},
        "reasons": {"OK/score": 1},
        "latency": None,
        "last_id": 1,
        "last_verdict": "OK",
        "last_reason": "score",
        "recorder_queue": 3,
        "images_dropped": 4,
    }
    return Health.model_validate({**facts, **changes})


def samples(metrics: Metrics, now: Health, overruns: int) -> dict[str, float]:
    text = metrics.text(now, overruns).decode()
    return {
        sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_health(tmp_path, health())
    assert read_health(tmp_path) == health()


def test_health_that_is_not_there_or_damaged_is_said_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(HealthError, match="not started"):
        read_health(tmp_path)
    (tmp_path / HEALTH).write_text("{}")
    with pytest.raises(HealthError, match="cannot be read"):
        read_health(tmp_path)


def test_the_tally_counts_verdicts_and_reasons_and_takes_percentiles_of_the_last_thousand() -> None:
    tally = Tally()
    assert tally.latency() is None
    for number in range(1, 1201):
        part = inspection(number, verdict=Verdict.OK if number % 3 else Verdict.ERROR)
        tally.add(replace(part, timings=Timings(total_ms=float(number))))
    assert tally.counts == {"OK": 800, "ERROR": 400}
    assert tally.reasons == {"OK/score": 800, "ERROR/score": 400}
    latency = tally.latency()
    assert latency is not None
    assert latency.n == 1000
    assert latency.max_ms == 1200
    assert latency.p50_ms == pytest.approx(700.5)
    assert latency.p50_ms < latency.p95_ms < latency.p99_ms < latency.max_ms


def test_metrics_name_every_promised_series() -> None:
    metrics = Metrics("tiny 1 0")
    metrics.add(inspection(1, verdict=Verdict.NG))
    metrics.add(replace(inspection(2, verdict=Verdict.ERROR), reason=Reason.LATE, timings=Timings(total_ms=120.0)))
    output = {"name": "mqtt b:1883", "up": False, "detail": "refused", "waiting": 7, "told": 9}
    found = samples(metrics, health(outputs=[output]), overruns=5)
    assert found["linewatch_output_up{output=mqtt b:1883}"] == 0
    assert found["linewatch_output_waiting{output=mqtt b:1883}"] == 7
    assert found["linewatch_output_told{output=mqtt b:1883}"] == 9
    assert found["linewatch_inspections_total{reason=score}{verdict=NG}"] == 1
    assert found["linewatch_inspections_total{reason=late}{verdict=ERROR}"] == 1
    assert found["linewatch_latency_seconds_bucket{le=0.1}"] == 1
    assert found["linewatch_latency_seconds_count"] == 2
    assert found["linewatch_frame_age_seconds"] == pytest.approx(0.012)
    assert found["linewatch_recorder_queue"] == 3
    assert found["linewatch_images_dropped_total"] == 4
    assert found["linewatch_trigger_overruns_total"] == 5
    assert found["linewatch_camera_up"] == 1
    assert found["linewatch_bundle_info{bundle=tiny 1 0}"] == 1


def test_totals_are_not_added_twice_and_a_lost_camera_shows() -> None:
    metrics = Metrics("b")
    samples(metrics, health(images_dropped=4), overruns=5)
    found = samples(metrics, health(images_dropped=6, state=State.CAMERA_FAULT, frame_age_ms=None), overruns=5)
    assert found["linewatch_images_dropped_total"] == 6
    assert found["linewatch_trigger_overruns_total"] == 5
    assert found["linewatch_camera_up"] == 0


def test_two_engines_in_one_process_do_not_share_a_registry() -> None:
    first, second = Metrics("a"), Metrics("b")
    first.add(inspection(1))
    assert "linewatch_latency_seconds_count" in samples(second, health(), 0)
    assert samples(second, health(), 0)["linewatch_latency_seconds_count"] == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"linewatch-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name if abstract else name)
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        assert sd_notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not sd_notify("READY=1")


def test_a_listener_that_does_not_read_never_holds_up_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        told = [sd_notify("WATCHDOG=1") for _ in range(2000)]
    assert told[0]
    assert not told[-1]
