"""Attacks by a stream that is late, and by a network that stores pictures and then sends them at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edge.commands.acceptance.late_camera import LateCamera
from edge.commands.acceptance.station import TrialStation, happens, inspecting
from edge.commands.evidence import Evidence
from edge.core.types import Image, Reason, Verdict
from edge.inference.bundle import Bundle
from edge.inference.preprocess import load_image

FPS = 25.0
DELAY_S = 0.6
LATENCY_MS = 100.0  # as commissioned
STALL_S = 1.0
LOOKED_FOR_S = 6.0


def late_stream(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Send each picture 600 ms after its exposure, with a deadline that such a picture cannot keep."""
    device = LateCamera(load_image(bundle.file(bundle.manifest.references[0].file)), FPS, DELAY_S)
    try:
        camera = {"type": "video", "source": device.url, "fps": FPS, "latency_ms": 1e3 * DELAY_S + LATENCY_MS}
        station = TrialStation(folder, bundle, 300.0, camera=camera)
        with inspecting(station) as engine:
            stale = happens(lambda: station.reason() is Reason.STALE_FRAME)
            told = station.triggers(10)
            status = engine.stop()
    finally:
        device.close()
    released = [answer.id for answer in told if answer.verdict is not Verdict.ERROR]
    evidence.hold(
        f"stream {1e3 * DELAY_S:.0f} ms late, deadline 300 ms: no part is judged by the picture before it",
        stale and len(told) == 10 and not released and status == 0,
        f"{len(told)} parts, {len(released)} of them judged, status {status}",
    )


def burst(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Hold the network, exchange the part, and let go; then let the server send what it stored to a new connection."""
    good = load_image(bundle.file(bundle.manifest.references[0].file))
    device = LateCamera(good, FPS)
    try:
        camera = {"type": "video", "source": device.url, "fps": FPS, "latency_ms": LATENCY_MS}
        station = TrialStation(folder, bundle, 250.0, camera=camera)
        with inspecting(station) as engine:
            for name, reconnects in (("the network stood still", False), ("a new connection gets old pictures", True)):
                device.show(good)
                before = happens(lambda: station.reason() is Reason.SCORE)
                after = _after_storing(station, device, _spoilt(good), reconnects)
                released = after.count(Verdict.OK)
                evidence.hold(
                    f"{name}, then {STALL_S:g} s of pictures come at once: no part is OK by a picture before it",
                    before and Verdict.NG in after and not released,
                    f"{len(after)} bad parts, {after.count(Verdict.NG)} NG, {released} OK",
                )
            engine.stop()
    finally:
        device.close()


def _after_storing(station: TrialStation, device: LateCamera, bad: Image, reconnects: bool) -> list[Verdict | None]:
    """Store pictures, put the bad part in view, send everything; returns the verdicts of the parts after that."""
    device.held, device.stored_s = not reconnects, 2.0
    time.sleep(STALL_S)
    device.show(bad)
    time.sleep(2 / FPS)  # it is exposed
    device.held = False
    if reconnects:
        device.cut()
    until, verdicts = time.monotonic() + LOOKED_FOR_S, list[Verdict | None]()
    while time.monotonic() < until or (Verdict.NG not in verdicts and time.monotonic() < until + 10 * LOOKED_FOR_S):
        verdicts += [answer.verdict for answer in station.triggers(1)]
    return verdicts


def _spoilt(image: Image) -> Image:
    """Return the picture with a white field from a quarter to half of each side."""
    height, width = image.shape[:2]
    spoilt = np.array(image)
    spoilt[height // 4 : height // 2, width // 4 : width // 2] = 255
    return spoilt
