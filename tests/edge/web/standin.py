"""A station without a camera: real history rows, pictures and health, and an engine stand-in that answers uploads.

`python -m tests.edge.web.standin [--port 8080] [--state running]` serves the page on it, to look at.
"""

from __future__ import annotations

import argparse
import signal
import socket
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.core.types import Image, Inspection, Reason, Timings, Verdict
from edge.exchange.commands import Command, CommissionWish, Step, Verb
from edge.exchange.health import (
    METRICS,
    Commissioning,
    Drift,
    DryPart,
    Health,
    Latency,
    OutputHealth,
    SelfTest,
    Sight,
    State,
    write_health,
)
from edge.exchange.live import named, write_live
from edge.exchange.requests import RequestServer
from edge.exchange.sockets import listen
from edge.exchange.trigger_socket import TRIGGER, TriggerAnswer, reply
from edge.history.eventlog import EventLog
from edge.history.pictures import INPUT, picture_path
from edge.inference.bundle import Bundle
from edge.inference.decision import decide
from edge.inference.detector import Detector
from edge.inference.heatmap import overlay
from edge.inference.preprocess import inspected_box, prepare
from tests.edge.engine.parts import Answering
from tests.tiny import LIMITS, THRESHOLD, write_tiny_bundle

WIDTH, HEIGHT = 640, 480
TYPICAL = 12.0  # score of a typical good part, as the rows tell it
BENCH_BGR = (158, 128, 98)  # grey on average, which the tiny model calls good, yet not grey to the eye
BRASS_BGR = (86, 134, 164)


def part_image(seed: int = 0, defect: bool = False) -> Image:
    """(480, 640, 3) uint8 BGR: a brass washer on a blue bench; with a defect, a bright scratch and a dark stain."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT, WIDTH, 3), BENCH_BGR, np.uint8)
    centre = (WIDTH // 2 + int(rng.integers(-12, 13)), HEIGHT // 2 + int(rng.integers(-8, 9)))
    cv2.circle(image, centre, 186, (118, 104, 84), -1, cv2.LINE_AA)
    cv2.circle(image, centre, 180, BRASS_BGR, -1, cv2.LINE_AA)
    for radius in range(86, 180, 9):
        cv2.circle(image, centre, radius, (80, 127, 158), 1, cv2.LINE_AA)
    cv2.circle(image, centre, 76, (118, 104, 84), -1, cv2.LINE_AA)
    cv2.circle(image, centre, 70, BENCH_BGR, -1, cv2.LINE_AA)
    if defect:
        cv2.ellipse(image, (centre[0] - 96, centre[1] - 70), (54, 40), 35, 0, 360, (252, 253, 255), -1, cv2.LINE_AA)
        cv2.ellipse(image, (centre[0] + 90, centre[1] + 86), (46, 40), 0, 0, 360, (16, 24, 30), -1, cv2.LINE_AA)
    noise = rng.normal(0, 5, image.shape[:2])[..., np.newaxis]
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def encoded(image: Image, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def all_commands(passed: bool = True) -> dict[str, Any]:
    """Return the health of a station that takes every command."""
    detail = "" if passed else "references/good.png scores 9.1, expected 2 within 2"
    return {
        "software_trigger": True,
        "recipe": "default",
        "recipes": ["default", "washer", "broken"],
        "self_test": SelfTest(at=datetime(2026, 1, 1, 6, 30, tzinfo=UTC), passed=passed, detail=detail),
        "commissioned": True,
    }


def all_troubles() -> dict[str, Any]:
    """Return the health of a station that has every banner and still inspects."""
    since = datetime.now(UTC) - timedelta(hours=1, minutes=20)
    drift = Drift(alarm=True, since=since, detail="the last 400 good parts score 38 % higher", parts=12_480)
    return all_commands(passed=False) | {
        "overruns": 3,
        "commissioned": False,
        "drift": drift,
        "storage_fault": "/var/lib/linewatch/images: no space left on the disk",
        "outputs": [
            OutputHealth(name="modbus 10.0.0.7:502", up=True),
            OutputHealth(name="mqtt broker.local:8883", up=False, detail="connection refused", waiting=214),
        ],
    }


class StandIn:
    """One station's folders, filled the way the engine and its recorder fill them."""

    def __init__(self, folder: Path, bundle: Bundle, name: str = "Line 3 washers", port: int = 1) -> None:
        self.bundle = bundle
        self.config = StationConfig.model_validate(
            {
                "name": name,
                "bundle": bundle.path,
                "state_dir": folder / "state",
                "run_dir": folder / "run",
                "camera": {"type": "folder", "path": folder},
                "trigger": {"type": "free_run", "rate_hz": 2.0},
                "page": {"port": port},
                "shift": {"zone": "UTC"},
            }
        )
        self.config.run_dir.mkdir(parents=True)
        self.started_at = datetime.now(UTC) - timedelta(hours=3, minutes=12)
        self.counts = {verdict.value: 0 for verdict in Verdict}
        self.last: Inspection | None = None
        self.says: dict[str, Any] = {}  # further fields of health.json
        self.part = part_image(4000)  # what a software trigger finds in view
        self.busy = False  # a part is being judged: a software trigger is an overrun
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @cached_property
    def detector(self) -> Detector:
        """The detector of the bundle; most tests of the page judge nothing and need none."""
        return Detector.from_bundle(self.bundle)

    def write_toml(self, path: Path) -> Path:
        """Write the station.toml that this station could have been started with."""
        config = self.config
        path.write_text(
            f'name = "{config.name}"\nbundle = "{config.bundle}"\n'
            f'state_dir = "{config.state_dir}"\nrun_dir = "{config.run_dir}"\n'
            f'camera = {{ type = "folder", path = "{config.state_dir.parent}" }}\n'
            'trigger = { type = "free_run", rate_hz = 2 }\n'
        )
        return path

    def show_also(self, *others: Path) -> None:
        """Make this station's page one over several stations."""
        page = self.config.page.model_copy(update={"stations": others})
        self.config = self.config.model_copy(update={"page": page})

    def inspect(self, image: Image, at: datetime | None = None, keep: bool = True) -> Inspection:
        """Judge an image with the real detector and record it: row, pictures, latest.jpg."""
        prediction = self.detector.predict(image)
        box = inspected_box(image.shape, self.detector.spec)
        decision = decide(prediction, LIMITS, box)
        found = Inspection(
            id=self._next_id(),
            at=at or datetime.now(UTC),
            trigger_id=f"free-{self._next_id()}",
            verdict=decision.verdict,
            reason=decision.reason,
            detail=decision.detail,
            score=prediction.score,
            threshold=THRESHOLD,
            typical=TYPICAL,
            defect_probability=prediction.defect_probability,
            regions=decision.regions,
            bundle=self.bundle.title,
            timings=Timings(2.1, 1.2, 6.4, 0.3, 0.1, 10.1 + prediction.score / 25),
        )
        heat = overlay(image, prediction.anomaly_map, LIMITS, box, decision.verdict)
        if keep:
            self._keep(found.id, {"frame": image, "heat": heat, "thumb": cv2.resize(heat, (160, 120))})
            seen = cv2.cvtColor(prepare(image, self.detector.spec)[0], cv2.COLOR_RGB2BGR)
            picture_path(self.config.images_dir, found.id, INPUT).write_bytes(
                encoded(np.asarray(seen, np.uint8), ".png")
            )
        self.record(found)
        write_live(self.config.run_dir, named(encoded(heat), found.id), named(encoded(image), found.id))
        return found

    def fail(self, reason: Reason, detail: str, at: datetime | None = None) -> Inspection:
        """Record an ERROR verdict without a picture."""
        number = self._next_id()
        timings = Timings(100.0, total_ms=101.3)
        found = Inspection(
            number, at or datetime.now(UTC), f"free-{number}", Verdict.ERROR, reason, detail,
            None, None, None, (), self.bundle.title, timings,
        )  # fmt: skip
        self.record(found)
        return found

    def record(self, inspection: Inspection) -> None:
        log = EventLog(self.config.events_db)
        log.append(inspection)
        log.close()
        self.counts[inspection.verdict.value] += 1
        self.last = inspection

    def fill(self, parts: int) -> None:
        """Fill a plausible past: mostly good, some defects, a few faults."""
        for index in range(parts):
            at = datetime.now(UTC) - timedelta(seconds=0.5 * (parts - index))
            if index % 41 == 17:
                self.fail(Reason.NO_FRAME, "no frame newer than the trigger within 100 ms", at)
            else:
                self.inspect(part_image(index, defect=index % 13 == 6), at)

    def shift(self, hours: float, parts: int) -> None:
        """Add rows without pictures, spread over the hours before now: scores creep up, and so do the rejects."""
        rng = np.random.default_rng(7)
        log = EventLog(self.config.events_db)
        rows = []
        for index in range(parts):
            number = self._next_id() + index
            share = index / parts
            score = float(rng.gamma(9.0, 1.6 + 0.9 * share) + (60.0 if rng.random() < 0.03 + 0.03 * share else 0.0))
            verdict = Verdict.NG if score >= THRESHOLD else Verdict.OK
            reason = Reason.SCORE
            total_ms = float(9.0 + rng.gamma(2.0, 3.0))
            if rng.random() < 0.01:
                verdict, reason, total_ms = Verdict.ERROR, Reason.LATE, 100.0 + 80.0 * float(rng.random())
            at = datetime.now(UTC) - timedelta(hours=hours * (1 - share))
            timings = Timings(2.1, 1.2, 6.4, 0.3, 0.1, total_ms)
            rows.append(
                Inspection(
                    number, at, f"free-{number}", verdict, reason, "", score, THRESHOLD, 0.5, (), self.bundle.title,
                    timings, typical=TYPICAL,
                )
            )  # fmt: skip
        log.append(*rows)
        log.close()
        self.last = rows[-1]

    def health(self, state: State = State.RUNNING, detail: str = "", written_at: datetime | None = None) -> Health:
        """Write health.json and metrics.prom as the engine would."""
        last = self.last
        health = Health(
            station=self.config.name,
            state=state,
            detail=detail,
            pid=1,
            written_at=written_at or datetime.now(UTC),
            started_at=self.started_at,
            bundle=self.bundle.title,
            bundle_path=str(self.bundle.path),
            threshold=THRESHOLD,
            runtime="openvino",
            cpu_tier="AVX512_VNNI",
            camera="folder models/samples 640x480",
            camera_fps=30.0,
            frame_age_ms=12.0,
            trigger="free run 2 Hz",
            deadline_ms=self.config.inspection.deadline_ms,
            counts=self.counts,
            reasons={},
            latency=Latency(n=100, p50_ms=10.4, p95_ms=12.9, p99_ms=14.2, max_ms=16.0),
            last_id=last.id if last else 0,
            last_verdict=last.verdict.value if last else None,
            last_reason=last.reason.value if last else None,
            recorder_queue=0,
            images_dropped=0,
            **self.says,
        )
        write_health(self.config.run_dir, health)
        total = sum(self.counts.values())
        text = f"# TYPE linewatch_inspections_total counter\nlinewatch_inspections_total {total}\n"
        write_atomically(self.config.run_dir / METRICS, text.encode(), durable=False)
        return health

    def start(self, state: State = State.RUNNING, detail: str = "") -> None:
        """Beat health and answer uploads in a thread, as the engine does between parts."""
        self._stop.clear()
        self.health(state, detail)
        callers = listen(self.config.run_dir, TRIGGER)  # before start() returns: a button may be pressed at once
        requests = RequestServer(self.config.run_dir)
        requests.start()
        arguments = (state, detail, callers, requests)
        self._threads = [threading.Thread(target=self._engine, args=arguments, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _engine(self, state: State, detail: str, callers: socket.socket, requests: RequestServer) -> None:
        recipe = Answering(
            lambda tensor: self.detector.predict_prepared(tensor), self.bundle.manifest.limits, self.bundle.title
        )
        callers.setblocking(False)
        while not self._stop.is_set():
            self.health(state, detail)
            requests.serve_next(recipe, self._obey)
            self._judge_for(callers)
            self._stop.wait(0.02)
        callers.close()
        requests.stop()

    def _judge_for(self, callers: socket.socket) -> None:
        """Answer whoever pressed the button."""
        try:
            caller, _ = callers.accept()
        except BlockingIOError:
            return
        reply(caller, TriggerAnswer(overrun=True) if self.busy else TriggerAnswer.of(self.inspect(self.part)))

    def _obey(self, command: Command) -> None:
        """Carry a command out as the engine does, as far as health.json tells it."""
        if command.verb is Verb.SELF_TEST:
            self.says["self_test"] = SelfTest(at=datetime.now(UTC), passed=True, detail="1 of 1 references reproduced")
        elif command.limit is not None:
            self.says["own_limit"] = f"{command.limit.who}: {command.limit.reason}"
            self.says["limits_decided"] = self.says.get("limits_decided", 0) + 1
        elif command.commission is not None:
            self._set_up(command.commission)
        elif command.hand is not None:
            pass  # whoever asks hears that it is set
        elif command.recipe == "broken":
            self.says["recipe_fault"] = "bundles/broken: model.bin does not match its sha256"
        else:
            self.says["recipe"] = command.recipe

    def _set_up(self, wish: CommissionWish) -> None:
        """Begin a set-up in which ten good parts and a bad one came already, or end it."""
        now, score = datetime.now(UTC), Reason.SCORE
        parts = [DryPart(id=one, would=Verdict.OK, reason=score, total_ms=20.0) for one in range(1, 11)]
        parts.append(DryPart(id=11, would=Verdict.NG, reason=score, total_ms=22.0))
        begun = Commissioning(who=wish.who, since=now, trials=parts)
        self.says["commissioning"] = None if wish.step is Step.END else begun
        self.says["sight"] = Sight(at=now, width=WIDTH, height=HEIGHT, focus=90.0, exposure=120.0, clipped=0.0)

    def _next_id(self) -> int:
        return self.last.id + 1 if self.last else 1

    def _keep(self, number: int, pictures: dict[str, Image]) -> None:
        for kind, image in pictures.items():
            path = picture_path(self.config.images_dir, number, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image))


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the page on a made-up station, to look at it.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--state", choices=["running", "starting", "camera_fault", "fault", "stopped", "dead"], default="running"
    )
    parser.add_argument("--end", choices=["OK", "NG", "ERROR"], default="OK", help="verdict of the last part")
    parser.add_argument("--says", choices=["nothing", "commands", "troubles", "unfit"], default="nothing")
    parser.add_argument("--hours", type=float, default=9.0, help="how long the station has run")
    parser.add_argument("--hall", action="store_true", help="one page over five stations in different states")
    parser.add_argument("--line", action="store_true", help="keep inspecting two parts a second")
    options = parser.parse_args()
    from edge.web.server import serve

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        station = StandIn(folder / "station", write_tiny_bundle(folder / "bundle", folder / "work"), port=options.port)
        station.shift(options.hours, int(options.hours * 600))
        station.fill(130)
        if options.end == "ERROR":
            station.fail(Reason.BAD_FRAME, "the image is 98 % black; is the light on?")
        else:
            station.inspect(part_image(999, defect=options.end == "NG"))
        station.says = {
            "nothing": {},
            "commands": all_commands(),
            "troubles": all_troubles(),
            "unfit": {"quality_fault": "out of focus: 31 % of the commissioned sharpness", "commissioned": True},
        }[options.says]
        if options.state == "dead":
            station.health(written_at=datetime.now(UTC) - timedelta(minutes=7))
        else:
            detail = "/dev/video0: read timed out, opening it again" if options.state == "camera_fault" else ""
            station.start(State(options.state), detail)
        if options.line:
            threading.Thread(target=_line, args=(station,), daemon=True).start()
        if options.hall:
            station.show_also(*(other.write_toml(folder / f"{other.config.name}.toml") for other in _others(station)))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        serve(station.config)
        station.stop()


def _others(first: StandIn) -> list[StandIn]:
    """Make further stations: with a defect, without a camera, with trouble, without an engine."""
    others = []
    for index, name in enumerate(("Line 4 flanges", "Line 5 inside", "Line 5 outside", "Line 6")):
        other = StandIn(first.config.state_dir.parent.parent / f"other{index}", first.bundle, name)
        other.inspect(part_image(index, defect=index == 0))
        other.says = all_troubles() if index == 2 else {}
        if index == 3:
            other.health(written_at=datetime.now(UTC) - timedelta(minutes=7))
        else:
            other.start(State.CAMERA_FAULT if index == 1 else State.RUNNING, "read timed out" if index == 1 else "")
        others.append(other)
    return others


def _line(station: StandIn) -> None:
    seed = 2000
    while True:
        seed += 1
        station.inspect(part_image(seed, defect=seed % 9 == 0))
        threading.Event().wait(0.5)


if __name__ == "__main__":
    main()
