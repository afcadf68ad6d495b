"""What `edge chaos` does to an engine, apart from killing it; each attack starts engines of its own."""

from __future__ import annotations

import http.server
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from edge.bundle import Bundle
from edge.evidence import Evidence
from edge.health import State
from edge.mjpeg import MjpegCamera, Mood
from edge.preprocess import load_image
from edge.proof import EngineProcess, ProofError, Subject, broken_sequence, happens, late_releases, unrecorded
from edge.types import Reason, Verdict

STOPS = 20  # SIGSTOPs while a part is being judged
WATCHDOG_S = 2.5  # the loop beats at least every second
RAISES = """
from edge.detector import Detector
def broken(self, tensor):
    raise ZeroDivisionError("a defect that was put in")
serve, count = Detector.infer, 0
def infer(self, tensor):
    global count
    count += 1
    return broken(self, tensor) if count > 40 and count % 3 == 0 else serve(self, tensor)
Detector.infer = infer
"""
HANGS = """
import time
from edge.detector import Detector
serve, count = Detector.infer, 0
def infer(self, tensor):
    global count
    count += 1
    while count > 60:
        time.sleep(1)
    return serve(self, tensor)
Detector.infer = infer
"""

Attack = Callable[[Evidence, Bundle, Path], None]


@contextmanager
def _inspecting(subject: Subject, defect: str | None = None) -> Iterator[EngineProcess]:
    with EngineProcess(subject, defect) as engine:
        if not engine.ready():
            raise ProofError("the engine is not READY within the time; see `edge check` for the bundle")
        yield engine


def _camera(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Stalls, freezes, vanishes, returns: a camera fault each time, never a verdict on an old picture."""
    image = load_image(bundle.file(bundle.manifest.references[0].file))
    camera = MjpegCamera(image)
    try:
        source = {"type": "video", "source": camera.url}
        subject = Subject(folder, bundle, 300.0, camera=source)
        with _inspecting(subject) as engine:
            for name, begin, reasons in (
                ("freezes", lambda: setattr(camera, "mood", Mood.FROZEN), {Reason.BAD_FRAME, Reason.NO_FRAME}),
                ("stalls", lambda: setattr(camera, "mood", Mood.STALLED), {Reason.NO_FRAME, Reason.BAD_FRAME}),
                ("vanishes", camera.vanish, {Reason.NO_FRAME, Reason.BAD_FRAME}),
            ):
                _lose(evidence, subject, camera, name, begin, reasons)
            evidence.hold("camera: the engine outlives every fault of it", engine.stop() == 0, "stopped with status 0")
    finally:
        camera.close()


def _lose(
    evidence: Evidence,
    subject: Subject,
    camera: MjpegCamera,
    name: str,
    begin: Callable[[], None],
    allowed: set[Reason],
) -> None:
    """One fault and its end."""
    judged = happens(lambda: _reason(subject) is Reason.SCORE)
    begin()
    fault = happens(lambda: _state(subject) is State.CAMERA_FAULT and _reason(subject) in allowed)
    during = [subject.trigger() for _ in range(5)]
    health = subject.health()
    if name == "vanishes":
        camera.come_back()
    camera.mood = Mood.LIVE
    back = happens(lambda: _reason(subject) is Reason.SCORE and _state(subject) is State.RUNNING)
    released = [answer for answer in during if answer is not None and answer.verdict is not Verdict.ERROR]
    evidence.hold(
        f"camera {name}: camera fault, ERROR for every part, and it recovers by itself",
        judged and fault and back and not released,
        (health.detail if health and fault else "no camera fault was reported")
        + ("" if back else "; it did NOT come back")
        + (f"; {len(released)} parts were judged meanwhile" if released else ""),
    )


def _reason(subject: Subject) -> Reason | None:
    answer = subject.trigger()
    return answer.reason if answer else None


def _state(subject: Subject) -> State | None:
    health = subject.health()
    return health.state if health else None


def _raises(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """A model that raises now and then."""
    subject = Subject(folder, bundle)
    with _inspecting(subject, RAISES) as engine:
        answers = [answer for answer in (subject.trigger() for _ in range(120)) if answer is not None]
        status = engine.stop()
    failed = [answer for answer in answers if answer.reason is Reason.INFERENCE_FAILED]
    good = [answer for answer in answers if answer.reason is Reason.SCORE]
    evidence.hold(
        "inference raises: that part is ERROR/inference_failed, the next is judged as usual",
        len(answers) == len(subject.rows()) == 120 and bool(failed) and bool(good) and status == 0,
        f"{len(answers)} triggers, {len(subject.rows())} rows, {len(failed)} inference_failed",
    )


def _hangs(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """A model that never answers: no beat for the watchdog, so that systemd kills and restarts."""
    subject = Subject(folder, bundle)
    with ThreadPoolExecutor(max_workers=1) as line, _inspecting(subject, HANGS) as engine:
        hanging = line.submit(lambda: [answer for answer in (subject.trigger() for _ in range(200)) if answer])
        silent = happens(lambda: engine.beats(WATCHDOG_S) == 0)
        engine.kill()
        answers = hanging.result()
    with _inspecting(subject) as engine:
        after = subject.trigger()
        engine.stop()
    rows = subject.rows()
    evidence.hold(
        "inference hangs: the watchdog is not beaten, and after the restart every id is accounted for",
        silent and after is not None and not broken_sequence(rows) and not unrecorded(answers, rows),
        f"no beat for {WATCHDOG_S:g} s: {'seen' if silent else 'NOT seen'}; {len(rows)} rows",
    )


def _stopped(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """SIGSTOP in the middle of the work, as a debugger or a freezing host does; SIGCONT later."""
    deadline_ms = 200.0
    subject, chance = Subject(folder, bundle, deadline_ms), random.Random(0)
    with ThreadPoolExecutor(max_workers=1) as line, _inspecting(subject) as engine:
        for _ in range(STOPS):
            waiting = line.submit(subject.trigger)
            time.sleep(chance.uniform(0.001, 0.006))  # by now it waits for a frame or is being judged
            engine.process.send_signal(signal.SIGSTOP)
            time.sleep(1.5 * deadline_ms / 1e3)
            engine.process.send_signal(signal.SIGCONT)
            waiting.result()
        recovered = happens(lambda: _reason(subject) is Reason.SCORE)
        engine.stop()
    hit = any(row.reason in (Reason.LATE, Reason.NO_FRAME) for row in subject.rows())
    _hold_deadline(evidence, f"{STOPS} times SIGSTOP and SIGCONT", subject, deadline_ms, recovered and hit)


def _hog(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Every core busy with something else: late parts are ERROR, never a late OK."""
    deadline_ms = 100.0
    subject = Subject(folder, bundle, deadline_ms, trigger={"type": "free_run", "rate_hz": 30})
    with _inspecting(subject) as engine, _hogs():
        time.sleep(4.0)
        engine.stop()
    rows = subject.rows()
    _hold_deadline(evidence, f"every core busy, deadline {deadline_ms:g} ms", subject, deadline_ms, bool(rows))


@contextmanager
def _hogs() -> Iterator[None]:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _hold_deadline(evidence: Evidence, name: str, subject: Subject, deadline_ms: float, recovered: bool) -> None:
    rows = subject.rows()
    late = late_releases(rows, deadline_ms)
    shown = sum(row.verdict is Verdict.ERROR for row in rows)
    evidence.hold(
        f"{name}: no OK or NG after the deadline",
        not late and recovered and not broken_sequence(rows),
        f"{len(rows)} parts, {shown} of them ERROR" + (f"; late and not ERROR: {late}" if late else ""),
    )


def _disk(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """No room for pictures: rows go on, the fault is shown, nothing crashes."""
    subject = Subject(folder, bundle, storage={"max_image_mb": 10, "keep_free_mb": 10**9})
    with _inspecting(subject) as engine:
        answers = [answer for answer in (subject.trigger() for _ in range(30)) if answer is not None]
        told = happens(lambda: (health := subject.health()) is not None and health.storage_fault)
        health = subject.health()
        status = engine.stop()
    evidence.hold(
        "disk full: rows go on, pictures stop, the fault is shown",
        told and status == 0 and len(subject.rows()) == len(answers) == 30 and not unrecorded(answers, subject.rows()),
        (health.storage_fault if health else None) or "no fault was shown",
    )


def _waiting(subject: Subject) -> int:
    """Messages that are on the disk, and not yet with their receiver."""
    health = subject.health()
    return sum(output.waiting for output in health.outputs) if health else 0


def _receiver(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """The receiver of a webhook is away for a while: everything arrives later, and repeats can be recognised."""
    heard: list[int] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append(int(body["sequence"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is http.server's
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver, bind_and_activate=False)
    server.server_bind()  # the port is taken, but nobody listens yet
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    subject = Subject(folder, bundle, output={"type": "webhook", "url": url, "secret_file": "secret"})
    (folder / "secret").write_text("a secret of sixteen bytes or more", encoding="ascii")
    with ThreadPoolExecutor(max_workers=1) as pool, server:
        with _inspecting(subject) as engine:
            before = [answer for answer in (subject.trigger() for _ in range(20)) if answer is not None]
            kept = happens(lambda: _waiting(subject) == len(before))
            engine.kill()  # and the engine dies meanwhile: the outbox is on the disk
        with _inspecting(subject) as engine:
            server.server_activate()
            serving = pool.submit(server.serve_forever, 0.05)
            after = [answer for answer in (subject.trigger() for _ in range(5)) if answer is not None]
            told = {answer.id for answer in [*before, *after]}
            arrived = happens(lambda: told <= set(heard))
            engine.stop()
            server.shutdown()
            serving.result()
    evidence.hold(
        "receiver down, engine killed meanwhile: everything arrives when it is back",
        kept and arrived and len(told) == 25 and heard == sorted(heard),
        f"{len(told)} verdicts, {len(heard)} messages, {len(heard) - len(set(heard))} of them repeats",
    )


ATTACKS: dict[str, Attack] = {
    "camera freezes, stalls, vanishes, returns": _camera,
    "inference raises": _raises,
    "inference hangs": _hangs,
    "SIGSTOP, SIGCONT": _stopped,
    "CPU hog": _hog,
    "disk full": _disk,
    "receiver down": _receiver,
}
