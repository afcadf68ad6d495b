"""Inspections and the station's state as JSON: what the page's script and other programs read."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from flask import url_for

from edge import __version__
from edge.core.types import Inspection, Reason, Timings, finite, one_line
from edge.exchange.live import LivePicture
from edge.history.database import HistoryError
from edge.history.pictures import picture_path
from edge.web.review.rejects import rejects_facts
from edge.web.service.notices import notices
from edge.web.station import EngineState, EngineView, Station
from edge.web.wording.facts import fact_texts
from edge.web.wording.verdicts import Words, inspection_words, percent, station_words

PICTURE_WITHIN_S = 0.7  # a part whose picture has not come by then is shown without one
VIEW_WITHIN_MS = 1500.0  # a camera whose last frame is older shows nothing of now
WHOLE_S = 10.0  # how long the last rejects are shown as read, when all their pictures are there
RECORDER_LAG = 3  # the recorder may be this many parts behind before the engine's own word is shown instead

Facts = dict[str, Any]
TIMES = {field.name.removesuffix("_ms"): field.name for field in fields(Timings)}


def inspection_facts(inspection: Inspection, station: Station, inline: bool = False) -> Facts:
    """Return one row of the history with its words and the addresses of the pictures that are still stored.

    inline: the address of the small picture holds the picture itself.
    """
    pictures = station.picture_addresses(inspection.id)
    if inline and pictures["thumb"]:
        pictures["thumb"] = _thumb(inspection.id, station)
    return {
        "id": inspection.id,
        "at": inspection.at.isoformat(timespec="milliseconds"),
        "trigger_id": inspection.trigger_id,
        "verdict": inspection.verdict.value,
        "reason": inspection.reason.value,
        "detail": inspection.detail,
        "words": inspection_words(inspection).facts(),
        "score": finite(inspection.score),
        "threshold": finite(inspection.threshold),
        "typical": finite(inspection.typical),
        "distance": inspection.distance,
        "defect_probability": finite(inspection.defect_probability),
        "probability_text": percent(finite(inspection.defect_probability)),
        "regions": [asdict(region) for region in inspection.regions],
        "bundle": inspection.bundle,
        "timings_ms": {stage: getattr(inspection.timings, name) for stage, name in TIMES.items()},
        "pictures": pictures,
    }


def _thumb(inspection_id: int, station: Station) -> str | None:
    """Return the small picture as an address that holds it; None when it was deleted meanwhile."""
    try:
        return data_address(picture_path(station.config.images_dir, inspection_id, "thumb").read_bytes())
    except FileNotFoundError:
        return None


def data_address(jpeg: bytes) -> str:
    """Return an address that holds a picture, so that nobody has to ask for it (RFC 2397)."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"


@dataclass(frozen=True, slots=True)
class StationView:
    """One reading of a station: verdict, row and picture on show belong to one part."""

    engine: EngineView
    latest: Inspection | None  # the row behind the verdict on show
    picture: LivePicture | None  # of the same part; without a verdict on show: the last one, or what the camera sees
    history: Facts | None  # counts of all time; None when the history cannot be read
    problem: str  # then: why

    @property
    def words(self) -> Words:
        """What the station says now."""
        return station_words(self.engine, self.latest)

    @property
    def now(self) -> bool:
        """Whether the picture shows what the words speak of, or in a camera's fault what the camera sees."""
        if self.picture is None:
            return False
        health = self.engine.health
        if health is not None and _faulty_camera(self.engine):
            return health.frame_age_ms is not None and health.frame_age_ms < VIEW_WITHIN_MS
        return self.latest is not None


def station_view(station: Station, raw: bool = False) -> StationView:
    """Read engine, picture and history in this order: a picture's row is stored before the picture is written."""
    engine = station.engine()
    picture = station.live(raw)
    try:
        history, rows = _history(station, picture)
    except HistoryError as error:
        return StationView(engine, None, None if engine.alive else picture, None, one_line(error))
    latest = _latest(engine, rows)
    if engine.state is EngineState.RUNNING and not _faulty_camera(engine):
        picture = picture if picture and latest and picture.part == latest.id else None
    return StationView(engine, latest, picture, history, "")


def station_facts(station: Station, raw: bool = False, inline: bool = False) -> Facts:
    """Return everything the first page shows, as GET /api/status answers it.

    raw: with the untouched live picture; inline: its address holds the picture itself.
    """
    seen = station_view(station, raw)
    engine, latest, health = seen.engine, seen.latest, seen.engine.health
    return {
        "version": __version__,
        "instance": station.instance,
        "station": health.station if health else station.config.name,
        "engine": {
            "alive": engine.alive,
            "state": engine.state.value,
            "age_s": None if engine.age_s is None else round(engine.age_s, 3),
            "last_seen": engine.last_seen.isoformat(timespec="milliseconds") if engine.last_seen else None,
            "detail": (health.quality_fault if health and engine.alive else None) or engine.detail,
        },
        "display": seen.words.facts(),
        "notices": [notice.facts() for notice in notices(health)] if health and engine.alive else [],
        "commands": _commands(engine),
        "latest": inspection_facts(latest, station) if latest else None,
        "history": seen.history,
        "rejects": _rejects(station, seen.history) if seen.history else None,
        "history_problem": seen.problem,
        "live": station.latest_picture(raw=False).is_file(),
        "picture": picture_facts(seen, raw, inline),
        "facts": fact_texts(engine, health),
        "health": health.model_dump(mode="json") if health else None,
    }


def lasting(status: Facts) -> Facts:
    """Return the facts of station_facts() without what passes by itself while the engine lives: how old its word is."""
    health = status["health"]
    if not status["engine"]["alive"] or health is None:
        return status | {"engine": status["engine"] | {"age_s": None}}
    engine = status["engine"] | {"age_s": None, "last_seen": None}
    return status | {"engine": engine, "health": health | dict.fromkeys(("written_at", "frame_age_ms", "camera_fps"))}


def _rejects(station: Station, history: Facts) -> Facts | None:
    """Return the last rejects; None when what people said cannot be read, which must not cost the verdict.

    They are read anew when there is another reject or answer, and now and then: each second while one has no picture,
    which comes after its row.
    """
    known = station.rejects[1]
    whole = known is not None and all(row["pictures"]["thumb"] for row in known["last"])
    state = history["NG"], history["ERROR"], station.reviews_state(), time.monotonic() // (WHOLE_S if whole else 1.0)
    if station.rejects[0] != state:
        try:
            station.rejects = state, rejects_facts(station)
        except HistoryError:
            station.rejects = state, None
    return station.rejects[1]


def picture_facts(seen: StationView, raw: bool = False, inline: bool = False) -> Facts | None:
    """Return which picture belongs to what is on show; None when none does."""
    if seen.picture is None:
        return None
    if inline:
        address = data_address(seen.picture.jpeg)
    else:
        address = url_for("downloads.held", id=seen.picture.key, raw=1 if raw else None)
    return {"part": seen.picture.part, "now": seen.now, "address": address}


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows from which the one on show is chosen."""

    newest: Inspection | None
    pictured: Inspection | None  # the part of the live picture
    waits: Inspection | None  # the first part after it, whose picture may still come


def _history(station: Station, picture: LivePicture | None) -> tuple[Facts, _Rows]:
    with station.history() as log:
        if log is None:
            return {"OK": 0, "NG": 0, "ERROR": 0, "total": 0, "last_id": 0}, _Rows(None, None, None)
        counts = log.counts()
        newest = next(iter(log.recent(1)), None)
        part = picture.part if picture else None
        rows = _Rows(newest, log.get(part) if part else None, log.get(part + 1) if part else None)
    last_id = newest.id if newest else 0
    return {"OK": counts.ok, "NG": counts.ng, "ERROR": counts.error, "total": counts.total, "last_id": last_id}, rows


def _latest(engine: EngineView, rows: _Rows) -> Inspection | None:
    """Return the row behind the verdict on show: only of a running engine, of this run, and not outdated.

    A row is stored before its picture. Until the picture is there the part before it stays on show with its own.
    """
    health, newest = engine.health, rows.newest
    if engine.state is not EngineState.RUNNING or health is None or health.last_verdict is None or newest is None:
        return None
    if health.quality_fault or newest.id < health.last_id - RECORDER_LAG:
        return None
    if rows.pictured is None or newest.reason is Reason.NO_FRAME:
        return newest
    waited_s = 0.0 if rows.waits is None else abs((datetime.now(UTC) - rows.waits.at).total_seconds())
    return rows.pictured if waited_s < PICTURE_WITHIN_S else newest


def _faulty_camera(engine: EngineView) -> bool:
    return engine.state is EngineState.CAMERA_FAULT or (
        engine.state is EngineState.RUNNING and engine.health is not None and engine.health.quality_fault is not None
    )


def _commands(engine: EngineView) -> Facts:
    """Return the commands that this engine obeys now; the page shows a button for each."""
    health = engine.health if engine.alive and engine.state is not EngineState.STARTING else None
    return {
        "trigger": health is not None and health.software_trigger,
        "recipes": health.recipes if health and len(health.recipes) > 1 else [],
        "recipe": health.recipe if health else None,
        "selftest": health is not None and health.self_test is not None,
    }
