from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.core.types import Reason, Timings, Verdict
from edge.engine.metrics import Metrics, Tally
from edge.exchange.health import Health, State
from tests.edge.engine.parts import inspection
from tests.edge.exchange.test_health import health


def samples(metrics: Metrics, now: Health, overruns: int) -> dict[str, float]:
    text = metrics.text(now, overruns).decode()
    return {
        sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


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
