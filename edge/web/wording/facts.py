"""The station's facts as a person reads them: what each is called, and what it is now."""

from __future__ import annotations

from datetime import UTC, datetime

from edge.exchange.health import Health, OutputHealth
from edge.web.service.notices import messages
from edge.web.station import EngineView
from edge.web.wording.verdicts import UNKNOWN, duration

FACT_NAMES = {
    "bundle": "Model",
    "recipe": "Recipe",
    "threshold": "Limit (score)",
    "camera": "Camera",
    "camera_rate": "Camera rate",
    "quality": "Picture quality",
    "trigger": "Trigger",
    "deadline": "Deadline",
    "overruns": "Overruns since start",
    "outputs": "Outputs",
    "drift": "Drift of the scores",
    "self_test": "Self-test",
    "cpu": "CPU tier",
    "runtime": "Runtime",
    "uptime": "Running for",
    "recorder": "Recorder",
}


def fact_texts(engine: EngineView, health: Health | None) -> dict[str, str]:
    """Return what each of FACT_NAMES is now; health: what the engine told last, None when it never ran."""
    if health is None:
        return dict.fromkeys(FACT_NAMES, UNKNOWN)
    until = datetime.now(UTC) if engine.alive else health.written_at
    return {
        "bundle": health.bundle,
        "threshold": f"{health.threshold:.4g}",
        "camera": health.camera,
        "camera_rate": f"{health.camera_fps:.1f} frames/s" if engine.alive else UNKNOWN,
        "trigger": health.trigger,
        "deadline": f"{health.deadline_ms:g} ms",
        "cpu": health.cpu_tier,
        "runtime": health.runtime,
        "uptime": duration((until - health.started_at).total_seconds()) if engine.alive else UNKNOWN,
        "recorder": f"{health.recorder_queue} waiting, {health.images_dropped} pictures dropped",
        "recipe": health.recipe or UNKNOWN,
        "quality": _quality(health),
        "overruns": f"{health.overruns}" if engine.alive else UNKNOWN,
        "outputs": "; ".join(_output(output) for output in health.outputs) or UNKNOWN,
        "drift": _drift(health),
        "self_test": _self_test(health),
    }


def _quality(health: Health) -> str:
    if health.quality_fault:
        return health.quality_fault
    return {None: UNKNOWN, False: "not commissioned", True: "like the commissioned picture"}[health.commissioned]


def _output(output: OutputHealth) -> str:
    if output.name == "memory":
        return "none, the station only watches"
    waits = f", {messages(output.waiting)}" if output.waiting else ""
    return f"{output.name}: connected{waits}" if output.up else f"{output.name}: NO CONNECTION{waits}"


def _drift(health: Health) -> str:
    if health.drift is None:
        return UNKNOWN
    if health.drift.alarm:
        return "ALARM, see above"
    return f"none found in {health.drift.parts} parts" if health.drift.parts else health.drift.detail or "no part yet"


def _self_test(health: Health) -> str:
    if health.self_test is None:
        return UNKNOWN
    at = f"{health.self_test.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"passed at {at}" if health.self_test.passed else f"FAILED at {at}"
