"""What `edge chaos` does to an engine, apart from killing it; each attack starts engines of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.attacks.camera import camera
from edge.attacks.clock import clock
from edge.attacks.computer import hog, stopped
from edge.attacks.disk import disk
from edge.attacks.model import hangs, raises
from edge.attacks.network import broker, plc, receiver
from edge.bundle import Bundle
from edge.evidence import Evidence

ATTACKS: dict[str, Callable[[Evidence, Bundle, Path], None]] = {
    "camera freezes, stalls, vanishes, returns": camera,
    "inference raises": raises,
    "inference hangs": hangs,
    "SIGSTOP, SIGCONT": stopped,
    "CPU hog": hog,
    "clock jumps": clock,
    "disk full": disk,
    "receiver down": receiver,
    "broker down": broker,
    "PLC down": plc,
}
