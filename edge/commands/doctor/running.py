"""What the doctor finds about the programs that run: engine, camera, self-test, ports."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edge.commands.doctor.findings import Finding, Level, look_if
from edge.config.cameras import VideoCameraConfig
from edge.config.outputs import ModbusOutputConfig
from edge.config.station import StationConfig
from edge.core.types import EdgeError, one_line
from edge.exchange.health import Health, State, read_health
from edge.web.access.gate import on_loopback

FIREWALL = "firewall.nft"  # of provision.sh, beside station.toml
PROTECTED = re.compile(r"tcp dport \{([\d, ]+)\} drop")
LISTENS = "0A"  # the state of a socket in /proc/net/tcp
NAMED = ("/dev/linewatch-", "/dev/v4l/by-id/", "/dev/v4l/by-path/")
FRESH_S = 5.0  # a camera that gives no frame for 2 s is in fault; an older frame is of an engine that is silent
_START = "systemctl start linewatch-engine"
_RESTART = "systemctl restart linewatch-engine"
_NO_BASELINE = "light, sharpness and place are not compared with a good view: run edge commission"


def running_findings(config: StationConfig, file: Path) -> Iterator[Finding]:
    """Yield what the engine said last, what listens, and who is kept from it; file: station.toml.

    A station whose engine does not judge does not work.
    """
    health: Health | None = None
    try:
        health = read_health(config.run_dir)
    except EdgeError as error:
        yield Finding("engine", f"{one_line(error)}; on an installed station: {_START}", Level.WRONG)
    else:
        yield _engine(health)
    yield from _camera(config)
    if health is not None and health.state is not State.STOPPED:
        yield _frames(health)
        yield from _view(health)
        yield from _told(health)
    if health is not None and health.self_test is not None:
        passed, detail = health.self_test.passed, health.self_test.detail
        words = f"{'passed' if passed else 'failed'} at {health.self_test.at:%Y-%m-%d %H:%M:%S} UTC"
        yield Finding("self-test", f"{words}{': ' * bool(detail)}{detail}", Level.FACT if passed else Level.WRONG)
    yield from _ports(config)
    yield from _firewall(config, file.parent / FIREWALL)


def _engine(health: Health) -> Finding:
    words = f"{health.state}{f': {health.detail}' if health.detail else ''}"
    said = f"{words}, last wrote {health.written_at:%Y-%m-%d %H:%M:%S} UTC"
    if health.state is State.STOPPED:
        return Finding("engine", f"{said}; no part is judged: {_START}", Level.WRONG)
    if not 0 <= _age_s(health) <= health.stale_after_s:
        return Finding("engine", f"{said}; it is silent: {_RESTART}, see journalctl -u linewatch-engine", Level.WRONG)
    if health.state is State.FAULT:
        return Finding("engine", f"{said}; every part is ERROR: {_RESTART}, or install another bundle", Level.WRONG)
    doubts = {
        State.STARTING: "no part is judged yet: ask again when its log says READY",
        State.COMMISSIONING: "every part is ERROR until the set-up on the page ends",
    }
    return look_if("engine", said, doubts.get(health.state, ""))


def _age_s(health: Health) -> float:
    return (datetime.now(UTC) - health.written_at).total_seconds()


def _camera(config: StationConfig) -> Iterator[Finding]:
    camera = config.camera
    if isinstance(camera, VideoCameraConfig) and camera.is_device:
        if not os.path.exists(camera.source):
            yield Finding("camera", f"{camera.source} is not there; plug it in, see camera-setup.sh", Level.WRONG)
            return
        steady = camera.source.startswith(NAMED)
        doubt = "" if steady else "another one may have this name tomorrow: run camera-setup.sh --name"
        yield look_if("camera", camera.source, doubt)


def _frames(health: Health) -> Finding:
    """A frame is as old as it was when the engine wrote, and as long ago as that."""
    if health.frame_age_ms is None:
        age_s, words = 0.0, "no frame yet"
    else:
        age_s = health.frame_age_ms / 1e3 + max(0.0, _age_s(health))
        words = f"the last frame is {age_s:.1f} s old"
    fault = health.quality_fault or (health.detail if health.state is State.CAMERA_FAULT else None)
    if fault is None and age_s > FRESH_S:
        fault = "no camera or no engine gives new ones: look at the lines above"
    words += f", {health.camera_fps:.1f} frames a second"
    return Finding("frames", f"{words}; {fault}" if fault else words, Level.WRONG if fault else Level.FACT)


def _view(health: Health) -> Iterator[Finding]:
    """Yield light and sharpness: as figures while the engine measures them without a part, else as it compares them."""
    seen, doubt = health.sight, "" if health.commissioned else _NO_BASELINE
    if seen is None:
        yield look_if("view", "compared with the commissioned one" if health.commissioned else "not compared", doubt)
        return
    light, focus = f"brightness {seen.exposure:.0f} of 255", f"sharpness {seen.focus:.0f}"
    if seen.commissioned_exposure is not None and seen.commissioned_focus is not None:
        light += f" (commissioned {seen.commissioned_exposure:.0f})"
        focus += f" (commissioned {seen.commissioned_focus:.0f})"
    yield look_if("view", f"{light}, {seen.clipped:.1%} of the picture is white, {focus}", seen.refused or doubt)


def _told(health: Health) -> Iterator[Finding]:
    """Yield each output, and pictures that cannot be kept."""
    for output in health.outputs:
        waits = f", {output.waiting} wait in its outbox" if output.waiting else ""
        down = f"down: {output.detail or 'it does not answer'}; check its power, network and address"
        yield look_if("output", f"{output.name}, {output.told} verdicts told{waits}", "" if output.up else down)
    if health.storage_fault:
        yield Finding("pictures", f"are not kept: {health.storage_fault}; free space on the disk", Level.LOOK)


def _wanted(config: StationConfig) -> Iterator[tuple[str, str, int]]:
    """Yield who listens by station.toml: a name, a host, a port."""
    yield "page", config.page.host, config.page.port
    yield from (("Modbus", one.host, one.port) for one in config.output if isinstance(one, ModbusOutputConfig))


def _ports(config: StationConfig) -> Iterator[Finding]:
    used = listening(Path("/proc/net"))
    for name, _, port in _wanted(config):
        unit = "linewatch-page" if name == "page" else "linewatch-engine"
        yield look_if(
            "port", f"{port} of {name}", "" if port in used else f"nobody listens: see systemctl status {unit}"
        )


def _firewall(config: StationConfig, file: Path) -> Iterator[Finding]:
    """Name the ports that every network reaches, because file does not guard them; Modbus asks nobody who they are."""
    wanted = [(name, port) for name, host, port in _wanted(config) if not on_loopback(host)]
    if not wanted:
        return
    try:
        found = PROTECTED.search(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        found = None
    protected = {int(port) for port in found[1].split(",")} if found else set()
    missing = ", ".join(f"{port} of {name}" for name, port in wanted if port not in protected)
    ports = ",".join(str(port) for _, port in wanted)
    doubt = f"every network reaches {missing}: run provision.sh --ports {ports}, with --allow as before"
    yield look_if("firewall", f"guards {ports}" if not missing else str(file), doubt if missing else "")


def listening(net: Path) -> set[int]:
    """Return the TCP ports on which anybody listens; net is /proc/net."""
    found: set[int] = set()
    for name in ("tcp", "tcp6"):
        lines = (net / name).read_text(encoding="ascii").splitlines()[1:] if (net / name).is_file() else []
        fields = [line.split() for line in lines]
        found |= {int(one[1].rpartition(":")[2], 16) for one in fields if one[3] == LISTENS}
    return found
