"""The attacks of `edge chaos` on an engine, apart from killing it; each attack starts engines of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.commands.acceptance.attacks.camera import camera
from edge.commands.acceptance.attacks.clock import clock
from edge.commands.acceptance.attacks.computer import hog, stopped
from edge.commands.acceptance.attacks.disk import disk
from edge.commands.acceptance.attacks.hostile import crowd, redirect, requests
from edge.commands.acceptance.attacks.model import hangs, raises
from edge.commands.acceptance.attacks.network import broker, plc, receiver
from edge.commands.acceptance.attacks.old_pictures import burst, late_stream
from edge.commands.acceptance.attacks.page import flood
from edge.commands.acceptance.attacks.state import deleted, sequence, stalled
from edge.commands.evidence import Evidence
from edge.inference.bundle import Bundle

ATTACKS: dict[str, Callable[[Evidence, Bundle, Path], None]] = {
    "camera freezes, stalls, vanishes, returns": camera,
    "stream late": late_stream,
    "stored pictures come at once": burst,
    "inference raises": raises,
    "inference hangs": hangs,
    "SIGSTOP, SIGCONT": stopped,
    "CPU hog": hog,
    "clock jumps": clock,
    "disk full": disk,
    "receiver down": receiver,
    "broker down": broker,
    "PLC down": plc,
    "receiver redirects to nowhere": redirect,
    "2,000 connections to the Modbus port": crowd,
    "bad requests of the page": requests,
    "flood of the page": flood,
    "nonsense in the note of ids": sequence,
    "history deleted": deleted,
    "disk stalled at stop": stalled,
}
