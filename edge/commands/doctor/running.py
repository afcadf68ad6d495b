"""What the doctor finds about the programs that run: engine, camera, self-test, ports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edge.commands.doctor.findings import Finding, Level, look_if
from edge.config.cameras import VideoCameraConfig
from edge.config.outputs import ModbusOutputConfig
from edge.config.station import StationConfig
from edge.core.types import EdgeError
from edge.exchange.health import Health, State, read_health

LISTENS = "0A"  # the state of a socket in /proc/net/tcp
NAMED = ("/dev/linewatch-", "/dev/v4l/by-id/", "/dev/v4l/by-path/")


def running_findings(config: StationConfig) -> Iterator[Finding]:
    """Yield what the engine said last, and what listens."""
    health: Health | None = None
    try:
        health = read_health(config.run_dir)
    except EdgeError as error:
        yield Finding("engine", str(error))
    else:
        yield _engine(health)
    yield from _camera(config, health)
    if health is not None and health.self_test is not None:
        passed, detail = health.self_test.passed, health.self_test.detail
        words = f"{'passed' if passed else 'failed'} at {health.self_test.at:%Y-%m-%d %H:%M:%S} UTC"
        yield Finding("self-test", f"{words}{': ' * bool(detail)}{detail}", Level.FACT if passed else Level.WRONG)
    yield from _ports(config)


def _engine(health: Health) -> Finding:
    age_s = (datetime.now(UTC) - health.written_at).total_seconds()
    words = f"{health.state}{f': {health.detail}' if health.detail else ''}"
    said = f"{words}, last wrote {health.written_at:%Y-%m-%d %H:%M:%S} UTC"
    silent = health.state is not State.STOPPED and not 0 <= age_s <= health.stale_after_s
    return look_if("engine", said, "it is silent: see journalctl -u linewatch-engine" if silent else "")


def _camera(config: StationConfig, health: Health | None) -> Iterator[Finding]:
    camera = config.camera
    if isinstance(camera, VideoCameraConfig) and camera.is_device:
        if not os.path.exists(camera.source):
            yield Finding("camera", f"{camera.source} is not there; plug it in, see camera-setup.sh", Level.WRONG)
            return
        steady = camera.source.startswith(NAMED)
        doubt = "" if steady else "another one may have this name tomorrow: run camera-setup.sh --name"
        yield look_if("camera", camera.source, doubt)
    if health is None or health.state is State.STOPPED:
        return
    age = "no frame yet" if health.frame_age_ms is None else f"the last frame is {health.frame_age_ms:.0f} ms old"
    fault = health.quality_fault or (health.detail if health.state is State.CAMERA_FAULT else None)
    words = f"{age}, {health.camera_fps:.1f} frames a second"
    yield Finding("frames", f"{words}; {fault}" if fault else words, Level.WRONG if fault else Level.FACT)


def _ports(config: StationConfig) -> Iterator[Finding]:
    used = listening(Path("/proc/net"))
    wanted = [("page", config.page.port, "linewatch-page")]
    wanted += [("Modbus", one.port, "linewatch-engine") for one in config.output if isinstance(one, ModbusOutputConfig)]
    for name, port, unit in wanted:
        yield look_if(
            "port", f"{port} of {name}", "" if port in used else f"nobody listens: see systemctl status {unit}"
        )


def listening(net: Path) -> set[int]:
    """Return the TCP ports on which anybody listens; net is /proc/net."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        lines = (net / name).read_text(encoding="ascii").splitlines()[1:] if (net / name).is_file() else []
        fields = [line.split() for line in lines]
        found |= {int(one[1].rpartition(":")[2], 16) for one in fields if one[3] == LISTENS}
    return found
