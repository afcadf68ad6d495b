"""Reads what the engine wrote; the page holds the last live pictures and, for a moment, its last answers."""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from flask import current_app, url_for

from edge.config.station import StationConfig
from edge.core.types import one_line
from edge.exchange import ExchangeError
from edge.exchange.health import HEALTH, LATEST, LATEST_RAW, Health, State, read_health
from edge.exchange.live import LivePicture, read_live
from edge.exchange.requests import REQUESTS, Requests
from edge.exchange.sockets import deserted
from edge.history.eventlog import EventLog
from edge.history.pictures import picture_name, picture_path
from edge.history.reviews import REVIEWS, ReviewStore
from edge.inference.bundle import Bundle, BundleError, open_bundle
from edge.web.answers import Answers

SUSPECT_AFTER_S = 0.6  # two reports were missed: is the process still there?
HELD = 16  # live pictures: a second or two of a fast line, until the browser has fetched the one it was told of
HELD_BYTES = 64 * 1024 * 1024
PICTURE_KINDS = ("frame", "heat", "thumb")  # that each part may have
CLASS = "class"  # where the class map looks; only of a bundle that has one


class EngineState(StrEnum):
    """The engine as seen from outside: its own word while it is fresh, else what the page must conclude."""

    STARTING = "starting"
    RUNNING = "running"
    CAMERA_FAULT = "camera_fault"
    FAULT = "fault"  # its self-test failed
    COMMISSIONING = "commissioning"  # an engineer sets the station up
    STOPPED = "stopped"  # it said goodbye
    STALE = "stale"  # it fell silent: dead or hanging
    ABSENT = "absent"  # it never wrote, or what it wrote cannot be read


ALIVE = frozenset({EngineState.STARTING, EngineState.RUNNING, EngineState.CAMERA_FAULT, EngineState.FAULT}) | {
    EngineState.COMMISSIONING
}


@dataclass(frozen=True, slots=True)
class EngineView:
    """One reading of the engine's state."""

    state: EngineState
    health: Health | None
    age_s: float | None  # since it last wrote
    detail: str  # one line for a person, may be empty

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def last_seen(self) -> datetime | None:
        return self.health.written_at if self.health else None


class Station:
    """Reads run_dir, the history and the pictures of one station."""

    def __init__(self, config: StationConfig) -> None:
        self.config = config
        self.requests = Requests(config.run_dir)
        self.instance = secrets.token_hex(8)  # a script that sees it change knows that the page was restarted
        self._lock = threading.Lock()
        self._bundle: Bundle | None = None
        self.answers = Answers()
        self._health: tuple[object, Health] | None = None  # as last read, and of which file
        self._images = str(config.images_dir)
        self._rows = [str(config.events_db), f"{config.events_db}-wal"]
        self._watched = [str(config.run_dir / name) for name in (HEALTH, LATEST, LATEST_RAW)]
        self._watched += [*self._rows, str(config.page_dir / REVIEWS), f"{config.page_dir / REVIEWS}-wal"]
        self.rejects: tuple[object, dict[str, Any] | None] = (None, None)  # as last read, and of which state
        self._live: OrderedDict[tuple[bool, str], LivePicture] = OrderedDict()

    def engine(self) -> EngineView:
        """Read the engine's state now. A clock that was set back or forward makes the state old, not young."""
        try:
            health = self._read_health()
        except ExchangeError as error:
            return EngineView(EngineState.ABSENT, None, None, one_line(error))
        age_s = abs((datetime.now(UTC) - health.written_at).total_seconds())
        if health.state is State.STOPPED:
            return EngineView(EngineState.STOPPED, health, age_s, health.detail)
        gone = age_s > SUSPECT_AFTER_S and deserted(self.config.run_dir, REQUESTS)
        if gone or age_s > health.stale_after_s:
            return EngineView(EngineState.STALE, health, age_s, health.detail)
        return EngineView(EngineState(health.state.value), health, age_s, health.detail)

    def _read_health(self) -> Health:
        """Read the engine's last word, each of its files once; raises ExchangeError."""
        file = _stamp(self._watched[0])
        known = self._health
        if known is None or known[0] != file or file is None:
            known = self._health = file, read_health(self.config.run_dir)
        return known[1]

    def stamp(self) -> Hashable:
        """Return what changes when the engine's state does, or a file that engine or people write and answers tell of.

        The state is judged by the clock, now.
        """
        engine = self.engine()
        return engine.state, engine.detail, *map(_stamp, self._watched)

    def rows_stamp(self) -> Hashable:
        """Return what changes when a row is stored; its pictures come after it."""
        return tuple(map(_stamp, self._rows))

    @contextmanager
    def history(self) -> Iterator[EventLog | None]:
        """Open the history for reading, or give None while there is none; raises HistoryError."""
        if not self.config.events_db.exists():
            yield None
            return
        log = EventLog(self.config.events_db, read_only=True)
        try:
            yield log
        finally:
            log.close()

    @contextmanager
    def reviews(self) -> Iterator[ReviewStore | None]:
        """Open the answers of people for reading, or give None while there are none; raises HistoryError."""
        if not (self.config.page_dir / REVIEWS).exists():
            yield None
            return
        store = ReviewStore(self.config.page_dir, read_only=True)
        try:
            yield store if store.ready else None
        finally:
            store.close()

    def reviews_state(self) -> tuple[tuple[int, int], ...]:
        """Return what changes when the file of answers does."""
        files = (self.config.page_dir / f"{REVIEWS}{ending}" for ending in ("", "-wal"))
        found = [path.stat() for path in files if path.exists()]
        return tuple((one.st_mtime_ns, one.st_size) for one in found)

    def bundle(self, health: Health) -> Bundle:
        """Return the bundle that the engine runs, verified once; raises BundleError."""
        with self._lock:
            known = self._bundle
            if known is None or (str(known.path), known.title) != (health.bundle_path, health.bundle):
                known = open_bundle(Path(health.bundle_path))
            if known.title != health.bundle:
                raise BundleError(
                    f"{known.path}: holds {known.title} and not {health.bundle}, which judges; restart the engine"
                )
            self._bundle = known
            return known

    def latest_picture(self, raw: bool) -> Path:
        return self.config.run_dir / (LATEST_RAW if raw else LATEST)

    def live(self, raw: bool) -> LivePicture | None:
        """Return the live picture with heatmap and outline, or untouched; None when there is none that names its part.

        It is held for a while, so that whoever was told its key gets this picture and no newer one.
        """
        found = read_live(self.latest_picture(raw))
        if found is not None:
            with self._lock:
                self._live[raw, found.key] = found
                while len(self._live) > HELD or sum(len(one.jpeg) for one in self._live.values()) > HELD_BYTES:
                    self._live.popitem(last=False)
        return found

    def held(self, raw: bool, key: str) -> LivePicture | None:
        """Return the live picture of this key; None when it is not held any more."""
        with self._lock:
            return self._live.get((raw, key))

    def picture(self, inspection_id: int, kind: str) -> Path | None:
        """Return a stored picture, or None when it was not kept; the path is made of a number and a known word."""
        if kind not in (*PICTURE_KINDS, CLASS):
            return None
        path = picture_path(self.config.images_dir, inspection_id, kind)
        return path if path.is_file() else None

    def picture_addresses(self, inspection_id: int) -> dict[str, str | None]:
        """Return for each of PICTURE_KINDS where a part's picture is loaded from; None for one that is not stored.

        The address of the class map is there only where it is stored.
        """
        first = PICTURE_KINDS[0]
        folder = url_for("downloads.stored", inspection_id=inspection_id, kind=first).removesuffix(first)
        paths = {kind: f"{self._images}/{picture_name(inspection_id, kind)}" for kind in PICTURE_KINDS}
        found = {kind: f"{folder}{kind}" if os.path.isfile(path) else None for kind, path in paths.items()}
        if os.path.isfile(f"{self._images}/{picture_name(inspection_id, CLASS)}"):
            found[CLASS] = f"{folder}{CLASS}"
        return found


def _stamp(path: str) -> tuple[int, int, int] | None:
    """Return what tells one state of a file from another; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def current_station() -> Station:
    """Return the station of the application that handles this request."""
    return cast("Station", current_app.extensions["linewatch_station"])
