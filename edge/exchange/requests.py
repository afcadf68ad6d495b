"""The requests of the page to the engine: one frame each way through a Unix socket, served between two parts.

The page decodes and prepares an upload in its own process, so that the engine spends no more on it than one
inference. Nothing that comes through the socket can stop the engine or keep a part waiting for more than that: a
thread reads and writes the frames, with bounds and time-outs, and the loop only finds whole requests.
"""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.core.types import AnomalyMap, EdgeError, Image, Limits, Located, Prediction, one_line
from edge.core.worker import Worker
from edge.exchange import ExchangeError
from edge.exchange.commands import Command, CommissionWish, HandWish, LimitWish, Verb
from edge.exchange.sockets import MAX_PICTURE_BYTES, FrameError, connect, listen, receive_frame, send_frame

REQUESTS = "requests.sock"
THREAD = "requests"
COMMAND_WITHIN_S = 5.0  # the engine looks between any two parts
FRAME_WITHIN_S = 2.0  # until a request is read whole, and again until its answer is taken
SERVED_WITHIN_S = 5.0  # until the loop takes a request, else it is withdrawn
AGAIN_S = 1.0  # until a socket that could not be opened, or a thread that died, is tried again
LONGEST_WORDS = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """The engine's answer to one upload: a prediction, never a verdict for the line."""

    score: float
    defect_probability: float
    limits: Limits
    anomaly_map: AnomalyMap  # (h, w) float32
    infer_ms: float
    bundle: str
    defect_type: str = ""
    boxes: tuple[Located, ...] | None = None  # pixels of the prepared image; None where the map locates


class Judge(Protocol):
    """The part of edge.engine.recipes.Recipe that answers an upload."""

    @property
    def title(self) -> str:
        """The bundle's title."""

    @property
    def limits(self) -> Limits:
        """The values that a prediction is compared with."""

    def predict_prepared(self, tensor: Image) -> Prediction:
        """Judge a (1, height, width, 3) uint8 RGB tensor; raises EdgeError, whatever fails."""


class _Size(BaseModel):
    """The words of a frame that carries an upload."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Requests:
    """The page's side: it asks and commands, one connection for each."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def ask(self, tensor: Image, timeout_s: float) -> Answer:
        """Hand a prepared image (1, height, width, 3) uint8 RGB to the engine and wait for its answer.

        Raises ExchangeError when the engine refuses it or does not answer in time.
        """
        _, height, width, _ = tensor.shape
        words = _Size(height=height, width=width).model_dump_json().encode()
        facts, cells = self._converse(words, tensor.tobytes(), timeout_s)
        if "error" in facts:
            raise ExchangeError(f"the engine refused the image: {facts['error']}")
        try:
            shape = facts.pop("rows"), facts.pop("columns")
            anomaly_map = np.frombuffer(cells, np.float32).reshape(shape)
            found = facts.pop("boxes", None)
            boxes = None if found is None else tuple(Located(**box) for box in found)
            return Answer(anomaly_map=anomaly_map, limits=Limits(**facts.pop("limits")), boxes=boxes, **facts)
        except (KeyError, TypeError, ValueError) as error:
            raise ExchangeError(f"the engine's answer cannot be read ({error}); try again") from error

    def switch_recipe(self, name: str, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask for another recipe; returns when the engine begins to verify it (Health.recipe_pending, recipe_fault)."""
        self._command(Command(verb=Verb.SWITCH_RECIPE, recipe=name), timeout_s)

    def self_test(self, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask for a self-test; returns when it begins, its result is Health.self_test."""
        self._command(Command(verb=Verb.SELF_TEST), timeout_s)

    def set_limit(self, wish: LimitWish, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask for another threshold; returns when the engine begins to prove it (Health.threshold, limit_fault)."""
        self._command(Command(verb=Verb.SET_LIMIT, limit=wish), timeout_s)

    def take_bundle(self, recipe: str, digest: str, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask to judge by a recipe with the bundle that was activated for it; returns when it begins to verify it."""
        self._command(Command(verb=Verb.TAKE_BUNDLE, recipe=recipe, digest=digest), timeout_s)

    def commission(self, wish: CommissionWish, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask to begin, to go on with or to end commissioning; Health.commissioning tells what became of it."""
        self._command(Command(verb=Verb.COMMISSION, commission=wish), timeout_s)

    def set_by_hand(self, wish: HandWish, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask to set an output by hand; returns when it is set, and raises ExchangeError when it must not be."""
        self._command(Command(verb=Verb.SET_BY_HAND, hand=wish), timeout_s)

    def _command(self, command: Command, timeout_s: float) -> None:
        facts, _ = self._converse(command.model_dump_json().encode(), b"", timeout_s)
        if "error" in facts:
            raise ExchangeError(str(facts["error"]))

    def _converse(self, words: bytes, picture: bytes, timeout_s: float) -> tuple[dict[str, Any], bytearray]:
        """Send one frame and return the answer's facts and picture; raises ExchangeError."""
        if len(picture) > MAX_PICTURE_BYTES:
            raise ExchangeError(f"a picture of {len(picture)} bytes is too large for the engine; send a smaller one")
        until = time.monotonic() + timeout_s
        try:
            with connect(self._run_dir, REQUESTS, timeout_s) as engine:
                send_frame(engine, words, picture, until)
                said, cells = receive_frame(engine, until)
            facts = json.loads(said)
        except TimeoutError:
            raise ExchangeError(f"the engine did not answer within {timeout_s:g} s; see the status page") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise ExchangeError("the engine did not answer: it is not running; start it") from None
        except (OSError, ValueError) as error:
            raise ExchangeError(f"the engine did not answer ({error}); see the status page") from error
        if not isinstance(facts, dict):
            raise ExchangeError("the engine did not answer in words that this page knows; start both again")
        return facts, cells


class _Call:
    """One request that was read whole, and its answer."""

    def __init__(self, caller: socket.socket, question: Image | Command) -> None:
        self.question = question
        self.answered = threading.Event()
        self.words: dict[str, object] = {"error": "the engine is busy or stops; try again"}
        self.picture = b""
        self._caller = caller
        caller.setblocking(False)

    def withdrawn(self) -> bool:
        """Return True when the caller has hung up: then nothing is to be done for it."""
        try:
            return self._caller.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class RequestServer:
    """The engine's side: a thread talks with one caller at a time, and the loop serves one request between two parts.

    Whatever fails here is the caller's loss. A socket that cannot be opened is tried again.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._listener: socket.socket | None = None
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._worker = Worker(THREAD, self._run)
        self._deaf = False  # the socket could not be opened
        self._tried_at = 0.0

    def start(self) -> None:
        """Open the socket, and begin to listen."""
        self._open()
        self._worker.start()

    def stop(self) -> None:
        """Hear nobody any more; who waits is told."""
        self._closing.set()
        with suppress(OSError):
            if self._listener is not None:
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        with suppress(queue.Empty):
            self._calls.get_nowait().answered.set()
        self._worker.join(1.0)
        if self._listener is not None:
            self._listener.close()

    def serve_next(self, judge: Judge, obey: Callable[[Command], None]) -> bool:
        """Serve the request that waits, if there is one, and return True then; call it between two parts.

        obey: carries out a command, or raises EdgeError to refuse it.
        """
        self._keep_alive()
        try:
            call = self._calls.get_nowait()
        except queue.Empty:
            return False
        if not call.withdrawn():
            _serve(call, judge, obey)
        call.answered.set()
        return True

    def _keep_alive(self) -> None:
        """Start the thread again when it died: its end must not be the engine's."""
        if not self._worker.is_alive() and time.monotonic() - self._tried_at > AGAIN_S:
            self._tried_at = time.monotonic()
            self._worker = Worker(THREAD, self._run)
            self._worker.start()

    def _open(self) -> None:
        try:
            self._listener = listen(self._run_dir, REQUESTS)
        except OSError as error:
            if not self._deaf:
                log.error("%s: requests of the page are not heard (%s)", self._run_dir / REQUESTS, error.strerror)
            self._deaf = True

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._listener is None:
                self._closing.wait(AGAIN_S)
                self._open()
                continue
            try:
                caller, _ = self._listener.accept()
            except OSError:
                self._closing.wait(AGAIN_S)  # no descriptor is left, or stop() was called
                continue
            with caller, suppress(OSError):  # a caller that left, or is too slow
                self._attend(caller)

    def _attend(self, caller: socket.socket) -> None:
        """Read one request, have the loop serve it, and send the answer; raises OSError of the caller."""
        words: dict[str, object]
        try:
            call = _Call(caller, _understood(*receive_frame(caller, time.monotonic() + FRAME_WITHIN_S)))
        except ExchangeError as error:
            words, picture = {"error": one_line(error, LONGEST_WORDS)}, b""
        else:
            self._calls.put(call)
            if not call.answered.wait(SERVED_WITHIN_S):
                try:
                    self._calls.get_nowait()
                except queue.Empty:
                    call.answered.wait()  # the loop is serving it
            words, picture = call.words, call.picture
        send_frame(caller, json.dumps(words).encode(), picture, time.monotonic() + FRAME_WITHIN_S)


def _understood(words: bytes, picture: bytearray) -> Image | Command:
    """Return what a frame asks for; raises FrameError when it is nothing that the engine knows."""
    try:
        if not picture:
            return Command.model_validate_json(words)
        size = _Size.model_validate_json(words)
    except ValidationError:
        raise FrameError("the engine does not know this command; page and engine are of different versions") from None
    if len(picture) != 3 * size.height * size.width:
        raise FrameError(f"{len(picture)} bytes are no {size.width}x{size.height} RGB image; send the image again")
    return np.frombuffer(picture, np.uint8).reshape(1, size.height, size.width, 3)


def _serve(call: _Call, judge: Judge, obey: Callable[[Command], None]) -> None:
    """Judge the upload or obey the command of a call, and note the answer."""
    try:
        if isinstance(call.question, Command):
            obey(call.question)
            call.words = {}
            return
        prediction = judge.predict_prepared(call.question)
    except EdgeError as error:
        call.words = {"error": one_line(error, LONGEST_WORDS)}
        return
    rows, columns = prediction.anomaly_map.shape
    call.picture = prediction.anomaly_map.astype(np.float32).tobytes()
    call.words = {
        "bundle": judge.title,
        "limits": asdict(judge.limits),
        "rows": rows,
        "columns": columns,
        "score": prediction.score,
        "defect_probability": prediction.defect_probability,
        "infer_ms": prediction.infer_ms,
        "defect_type": prediction.defect_type,
    }
    if prediction.boxes is not None:
        call.words["boxes"] = [asdict(box) for box in prediction.boxes]
