"""Attacks by a network camera that goes wrong in every way that its fake knows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge.commands.acceptance.fake_camera import MjpegCamera, Mood
from edge.commands.acceptance.station import TrialStation, happens, inspecting
from edge.commands.evidence import Evidence
from edge.core.types import Reason, Verdict
from edge.exchange.health import State
from edge.inference.bundle import Bundle
from edge.inference.preprocess import load_image

MOODS = {
    "freezes": Mood.FROZEN,
    "stalls": Mood.STALLED,
    "sends torn pictures": Mood.TORN,
    "changes its resolution": Mood.LARGER,
    "sends pictures of 2 x 60000": Mood.ODD,
    "sends a picture of 2 GB": Mood.ENDLESS,
}
UNSEEN = {Reason.BAD_FRAME, Reason.NO_FRAME, Reason.STALE_FRAME}


def camera(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Expect a camera fault each time, and never a verdict on an old picture."""
    device = MjpegCamera(load_image(bundle.file(bundle.manifest.references[0].file)))
    try:
        source = {"type": "video", "source": device.url, "fps": 25.0, "latency_ms": 100.0}
        station = TrialStation(folder, bundle, 300.0, camera=source)
        with inspecting(station) as engine:
            for name, mood in MOODS.items():
                _lose(evidence, station, device, name, partial(setattr, device, "mood", mood))
            _lose(evidence, station, device, "vanishes", device.vanish)
            evidence.hold("camera: the engine outlives every fault of it", engine.stop() == 0, "stopped with status 0")
    finally:
        device.close()


def _lose(evidence: Evidence, station: TrialStation, device: MjpegCamera, name: str, begin: Callable[[], None]) -> None:
    """Begin one fault, look at the parts meanwhile, and end it."""
    judged = happens(lambda: station.reason() is Reason.SCORE)
    begin()
    fault = happens(lambda: station.state() is State.CAMERA_FAULT and station.reason() in UNSEEN)
    during = station.triggers(5)
    health = station.health()
    if name == "vanishes":
        device.come_back()
    device.mood = Mood.LIVE
    back = happens(lambda: station.reason() is Reason.SCORE and station.state() is State.RUNNING)
    released = [answer for answer in during if answer.verdict is not Verdict.ERROR]
    evidence.hold(
        f"camera {name}: camera fault, ERROR for every part, and it recovers by itself",
        judged and fault and back and not released,
        (health.detail if health and fault else "no camera fault was reported")
        + ("" if back else "; it did NOT come back")
        + (f"; {len(released)} parts were judged meanwhile" if released else ""),
    )
