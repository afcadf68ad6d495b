"""The requests of the page to the engine: small files, handled between parts, each answered once.

The page decodes and prepares an upload in its own process, so that the engine spends no more on it than
one inference; a request that the engine never answers is withdrawn by the page.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.core.files import write_atomically
from edge.core.types import AnomalyMap, EdgeError, Image, Limits, Prediction
from edge.exchange import ExchangeError

_REQUEST = re.compile(r"^[0-9a-f]{32}\.npy$")
_COMMAND = re.compile(r"^[0-9a-f]{32}\.json$")
COMMAND_WITHIN_S = 5.0  # the engine looks between any two parts


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


class Judge(Protocol):
    """The part of edge.engine.recipes.Recipe that answers an upload."""

    @property
    def title(self) -> str:
        """The bundle's title."""

    @property
    def limits(self) -> Limits:
        """The values that a prediction is compared with."""

    def predict_prepared(self, tensor: Image) -> Prediction:
        """Judge a (1, height, width, 3) uint8 RGB tensor."""


class Verb(StrEnum):
    """The commands of the page, apart from judging an upload and a trigger (trigger_socket.py)."""

    SWITCH_RECIPE = "switch_recipe"
    SELF_TEST = "self_test"


class Command(BaseModel):
    """One command of the page."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    verb: Verb
    recipe: str | None = Field(default=None, max_length=64)


class Reply(BaseModel):
    """The engine's answer to a command: accepted, or an error. health.json tells what became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    error: str | None = None


class RequestBox:
    """The folder run_dir/requests: the page asks and commands, the engine answers and obeys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove what an engine that was killed left behind; called by the engine before it answers."""
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)

    def ask(self, tensor: Image, timeout_s: float) -> Answer:
        """Hand a prepared image (1, height, width, 3) uint8 RGB to the engine and wait for its answer.

        Raises ExchangeError when the engine refuses it or does not answer in time.
        """
        stream = io.BytesIO()
        np.save(stream, tensor, allow_pickle=False)
        question = self.folder / f"{secrets.token_hex(16)}.npy"
        reply = question.with_suffix(".npz")
        write_atomically(question, stream.getvalue(), durable=False)
        try:
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                if reply.exists():
                    return _read_answer(reply)
                time.sleep(0.005)
        finally:
            question.unlink(missing_ok=True)
            reply.unlink(missing_ok=True)
        raise ExchangeError(f"the engine did not answer within {timeout_s:g} s; see the status page")

    def switch_recipe(self, name: str, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask for another recipe; returns when the engine begins to verify it (Health.recipe_pending, recipe_fault)."""
        self._command(Command(verb=Verb.SWITCH_RECIPE, recipe=name), timeout_s)

    def self_test(self, timeout_s: float = COMMAND_WITHIN_S) -> None:
        """Ask for a self-test; returns when it begins, its result is Health.self_test."""
        self._command(Command(verb=Verb.SELF_TEST), timeout_s)

    def _command(self, command: Command, timeout_s: float) -> None:
        question = self.folder / f"{secrets.token_hex(16)}.json"
        reply = question.with_suffix(".answer")
        write_atomically(question, command.model_dump_json().encode(), durable=False)
        try:
            deadline = time.monotonic() + timeout_s
            while not reply.exists():
                if time.monotonic() > deadline:
                    raise ExchangeError(f"the engine did not answer within {timeout_s:g} s; see the status page")
                time.sleep(0.005)
            error = Reply.model_validate_json(reply.read_bytes()).error
        finally:
            question.unlink(missing_ok=True)
            reply.unlink(missing_ok=True)
        if error is not None:
            raise ExchangeError(error)

    def obey_next(self, obey: Callable[[Command], None]) -> bool:
        """Hand one waiting command to obey, which raises EdgeError to refuse it; True when one was handled."""
        question = next((p for p in self.folder.iterdir() if _COMMAND.match(p.name)), None)
        if question is None:
            return False
        reply = Reply()
        try:
            command = Command.model_validate_json(question.read_bytes())
            question.unlink()  # first: whatever follows, it is obeyed once
            obey(command)
        except FileNotFoundError:
            return True  # the page withdrew it
        except ValidationError:
            question.unlink(missing_ok=True)
            reply = Reply(error="the engine does not know this command; page and engine are of different versions")
        except EdgeError as error:
            reply = Reply(error=str(error))
        write_atomically(question.with_suffix(".answer"), reply.model_dump_json().encode(), durable=False)
        return True

    def answer_next(self, judge: Judge) -> bool:
        """Answer the oldest waiting request, if there is one; True when one was handled."""
        waiting = [p for p in self.folder.iterdir() if _REQUEST.match(p.name)]
        if not waiting:
            return False
        question = min(waiting, key=lambda p: p.name)
        facts: dict[str, object] = {"bundle": judge.title, "limits": asdict(judge.limits)}
        anomaly_map = np.zeros((0, 0), np.float32)
        try:
            prediction = judge.predict_prepared(np.load(question, allow_pickle=False))
        except FileNotFoundError:
            return True  # the page withdrew it
        except (EdgeError, ValueError, OSError, EOFError, RuntimeError) as error:  # RuntimeError: of the model
            facts["error"] = str(error)
        else:
            anomaly_map = prediction.anomaly_map
            facts |= {
                "score": prediction.score,
                "defect_probability": prediction.defect_probability,
                "infer_ms": prediction.infer_ms,
                "defect_type": prediction.defect_type,
            }
        stream = io.BytesIO()
        np.savez(stream, anomaly_map=anomaly_map, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8))
        write_atomically(question.with_suffix(".npz"), stream.getvalue(), durable=False)
        question.unlink(missing_ok=True)
        return True


def _read_answer(path: Path) -> Answer:
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            anomaly_map = stored["anomaly_map"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ExchangeError(f"the engine's answer cannot be read ({error}); try again") from error
    if "error" in facts:
        raise ExchangeError(f"the engine refused the image: {facts['error']}")
    return Answer(anomaly_map=anomaly_map, limits=Limits(**facts.pop("limits")), **facts)
