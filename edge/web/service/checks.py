"""Checks that a person starts on the page: is the history whole, and is a stored part judged as it was?"""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from flask import current_app

from edge.core.types import Image, Inspection, one_line
from edge.exchange import ExchangeError
from edge.history.audit import AUDIT, AuditLog
from edge.history.database import HistoryError
from edge.history.eventlog import EventLog
from edge.history.pictures import INPUT, picture_path
from edge.history.reading.proof import chain_proof
from edge.inference.bundle import BundleError
from edge.inference.preprocess import ImageError, load_image
from edge.web.service.trial import TrialError, Trials
from edge.web.station import Station

THREAD = "page-verify"
ANSWER_WITHIN_S = 5.0

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verification:
    """One run of the proof of the history."""

    state: str  # none, running, whole, wrong
    text: str = ""
    at: str = ""  # when it ended, or began while it runs; UTC


class Checks:
    """The checks of one station. The history is followed in a thread of its own, one at a time."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last = Verification("none")

    def verification(self) -> Facts:
        """Return what is known of the last proof of the history."""
        thread, last = self._thread, self._last
        if last.state == "running" and thread is not None and not thread.is_alive():
            last = Verification(
                "wrong", "The check ended without a result; run `edge log verify` on the station.", _now()
            )
        return asdict(last)

    def verify(self) -> bool:
        """Begin to follow the chain of the history and of the audit; False when that goes on already."""
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._last = Verification("running", "", _now())
            self._thread = threading.Thread(target=self._follow, name=THREAD, daemon=True)
            self._thread.start()
        return True

    def _follow(self) -> None:
        config = self._station.config
        try:
            with closing(EventLog(config.events_db, read_only=True)) as events:
                text = chain_proof(events)
            if (config.page_dir / AUDIT).exists():
                with closing(AuditLog(config.page_dir, read_only=True)) as audit:
                    text += f". The audit: {audit.verify()[0]} rows, none altered, missing or put in"
            self._last = Verification("whole", f"{text}.", _now())
        except HistoryError as error:
            self._last = Verification("wrong", one_line(error), _now())


def current_checks() -> Checks:
    """Return the checks of the application that handles this request."""
    return cast("Checks", current_app.extensions["linewatch_checks"])


def replayed(station: Station, trials: Trials, part: int) -> Facts:
    """Have the engine judge a part's stored picture again, and compare the scores. Raises TrialError."""
    row = _row(station, part)
    tensor = _tensor(picture_path(station.config.images_dir, part, INPUT), part)
    health = trials.running()
    try:
        judging = station.bundle(health)
        if row.bundle_digest not in ("", judging.digest) or row.bundle != judging.title:
            judges = f"was judged by {row.bundle}, and {judging.title} judges now"
            raise TrialError(409, f"part {part} {judges}; run `edge replay` on the station")
        with trials.turn():
            answer = station.requests.ask(tensor, ANSWER_WITHIN_S)
    except (BundleError, ExchangeError) as error:
        raise TrialError(503, one_line(error)) from error
    same = answer.score == row.score
    text = f"Part {part} gets exactly its stored score again, {row.score!r}."
    if not same:
        text = (
            f"Part {part} gets {answer.score!r}, and {row.score!r} is stored. On one CPU and runtime they are "
            "equal: the picture, the model or the row was changed, or the station has another CPU. Call maintenance."
        )
    return {"part": part, "same": same, "score": answer.score, "stored": row.score, "text": text}


def _row(station: Station, part: int) -> Inspection:
    with station.history() as log:
        row = log.get(part) if log else None
    if row is None:
        raise TrialError(404, f"there is no inspection {part} in the history")
    if row.score is None:
        raise TrialError(409, f"part {part} is {row.verdict}/{row.reason}: the model gave no score to compare")
    return row


def _tensor(path: Path, part: int) -> Image:
    """Return the picture as the model saw it, (1, height, width, 3) uint8 RGB; raises TrialError."""
    if not path.is_file():
        raise TrialError(409, f"the picture of part {part} is not stored (any more); choose a newer part")
    try:
        return np.asarray(cv2.cvtColor(load_image(path), cv2.COLOR_BGR2RGB), np.uint8)[np.newaxis]
    except ImageError as error:
        raise TrialError(409, one_line(error)) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
