"""`edge commission --latency`: how long is a stream's picture on its way? A light that changes is enough to see it."""

from __future__ import annotations

import random
import secrets
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.cameras import make_camera
from edge.cameras.capture import Capture, FrameSlot
from edge.cameras.latency import StreamLatency, is_stream, latency_file, source_scrypt, timing_doubts, with_latency
from edge.commands import CommandError
from edge.config.cameras import VideoCameraConfig
from edge.config.station import StationConfig
from edge.core.files import own_folders, write_atomically
from edge.core.types import Frame, Image

CHANGES = 10
BEFORE_S = 1.0  # of pictures before a change
AFTER_S = 3.0  # a change that is not seen by then is not seen
FIRST_FRAME_WITHIN_S = 10.0
COMMAND_WITHIN_S = 10.0
THUMB = (32, 24)
VISIBLE = 12.0  # grey levels by which the change must move the most changed spots
LIGHT, DARK = "\x1b[?5h", "\x1b[?5l"  # DECSCNM: the whole screen of a terminal in reverse, and back

Seen = tuple[float, NDArray[np.float32]]  # when a frame arrived, monotonic s, and its thumbnail


class Flash(Protocol):
    """A light that the camera sees."""

    def show(self, light: bool) -> None:
        """Switch it; raises CommandError."""


class ScreenFlash:
    """The screen of this terminal: its own delay adds to the latency, which errs on the safe side."""

    def show(self, light: bool) -> None:
        sys.stdout.write(LIGHT if light else DARK)
        sys.stdout.flush()


class CommandFlash:
    """A command that switches a lamp, with `on` or `off` as its last word, such as one for a wired output."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def show(self, light: bool) -> None:
        try:
            subprocess.run(
                [*self._command, "on" if light else "off"], check=True, capture_output=True, timeout=COMMAND_WITHIN_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CommandError(f"--flash: the command failed ({' '.join(str(error).split())[:200]})") from None


def commission_latency(config: StationConfig, command: str | None) -> str:
    """Measure the latency of the station's stream and store it; returns lines for a person.

    Raises CommandError when the camera is no stream or the change is not seen, and EdgeError while the engine runs.
    """
    camera = config.camera
    if not isinstance(camera, VideoCameraConfig) or not is_stream(camera):
        raise CommandError("--latency is for network streams; the frames of this camera carry their time")
    if command is None and not sys.stdout.isatty():
        raise CommandError("--latency flashes this terminal's screen, and this is none; use --flash COMMAND")
    flash = CommandFlash(command) if command is not None else ScreenFlash()
    blind = config.model_copy(update={"camera": camera.model_copy(update={"latency_ms": None})})
    try:
        with own_folders(config.state_dir, config.run_dir):
            found = _measured(blind, camera, flash)
            write_atomically(latency_file(config), found.model_dump_json(indent=1).encode())
    except OSError as error:
        raise CommandError(f"{error.filename or config.state_dir}: {error.strerror or error}") from error
    return "\n".join([_words(found), *(f"warning: {doubt}" for doubt in timing_doubts(with_latency(config)))])


def _measured(config: StationConfig, camera: VideoCameraConfig, flash: Flash) -> StreamLatency:
    slot = FrameSlot()
    capture = Capture(make_camera(config.camera), slot)
    capture.start()
    try:
        first = slot.newer_than(time.monotonic(), FIRST_FRAME_WITHIN_S)
        if first is None:
            raise CommandError(f"the camera is in fault: {capture.status().detail or 'no frame'}")
        flash.show(False)
        _watch(slot, AFTER_S)
        begin = slot.newest() or first
        delays_ms = [_delay_s(slot, flash, number % 2 == 0) * 1e3 for number in range(CHANGES)]
        end = slot.newest() or first
    finally:
        flash.show(False)
        capture.stop()
    fps = (end.seq - begin.seq) / (end.captured_at - begin.captured_at)
    salt = secrets.token_hex(16)
    return StreamLatency(
        made_at=datetime.now(UTC),
        salt=salt,
        source_scrypt=source_scrypt(camera, salt),
        changes=CHANGES,
        quickest_ms=min(delays_ms),
        slowest_ms=max(delays_ms),
        latency_ms=max(delays_ms) + 1e3 / (camera.fps or fps),
        fps=fps,
    )


def _delay_s(slot: FrameSlot, flash: Flash, light: bool) -> float:
    """Switch the light once; returns s from the order to the arrival of the first frame that shows the change."""
    before = _watch(slot, BEFORE_S + random.uniform(0, 0.2))  # at any phase of the camera's period
    with ThreadPoolExecutor(1) as pool:
        ordered = time.monotonic()
        switched = pool.submit(flash.show, light)
        after = _watch(slot, AFTER_S)
        switched.result()
    if len(before) < 3 or len(after) < 3:
        raise CommandError("the stream stalled; check the network, and measure again")
    start = np.median([thumb for _, thumb in before], axis=0)
    change = np.median([thumb for _, thumb in after[-3:]], axis=0) - start
    if np.quantile(np.abs(change), 0.95) < VISIBLE:
        raise CommandError(
            "the picture does not change with the light; point the camera at the lamp or the screen, in a dim room"
        )
    for arrived_at, thumb in after:
        if float(((thumb - start) * change).sum()) >= 0.5 * float((change**2).sum()):
            return arrived_at - ordered
    raise CommandError("the light flickers; use a steady lamp, and measure again")


def _watch(slot: FrameSlot, seconds: float) -> list[Seen]:
    """Return what the frames of so many seconds show."""
    until, last, seen = time.monotonic() + seconds, time.monotonic(), list[Seen]()
    while (left_s := until - time.monotonic()) > 0:
        frame: Frame | None = slot.newer_than(last, left_s)
        if frame is not None:
            last = frame.captured_at
            seen.append((last, _thumb(frame.image)))
    return seen


def _thumb(image: Image) -> NDArray[np.float32]:
    """Reduce an (H, W, 3) uint8 BGR frame to (24, 32) grey levels."""
    return np.asarray(cv2.resize(image, THUMB, interpolation=cv2.INTER_AREA).mean(axis=2), np.float32)


def _words(found: StreamLatency) -> str:
    return (
        f"latency: {found.changes} changes of the light were seen after {found.quickest_ms:.0f} to "
        f"{found.slowest_ms:.0f} ms, at {found.fps:.2f} frames a second; stored is {found.latency_ms:.0f} ms, the "
        "slowest and one frame period. It holds while nothing but the network delays a frame: measure again after "
        "a change of camera, its settings or the network"
    )
