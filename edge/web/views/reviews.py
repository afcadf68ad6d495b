"""Routes for what people say of parts: rejects that were seen, the queue of parts to review, and their answers."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import Any

from flask import Blueprint, Response, abort, jsonify, make_response, render_template, request

from edge.core.types import Inspection, one_line
from edge.history.database import HistoryError
from edge.history.reviews import LONGEST_MASK, LONGEST_NAME, Draft, Opinion, Origin, ReviewConflictError, ReviewStore
from edge.web.access.gate import current_user, record
from edge.web.guard import csrf_token
from edge.web.review.masks import MaskError, checked_mask
from edge.web.review.queue import Queue, review_facts
from edge.web.station import Station, current_station
from edge.web.views.api import MAX_ID, never_stored
from edge.web.views.parameters import number, shown

blueprint = Blueprint("reviews", __name__)
MAX_BODY_BYTES = 16 * 1024
BEFORE = "before"  # in place of an opinion: the answer that the last one replaced
LABEL = r"[a-z0-9][a-z0-9_]{0,39}"
NO_LABELS = frozenset({"good", "goods", "ok", "okay", "normal", "pass", "passed", "io", "gut", "defect_free"})
NO_LABELS |= frozenset({"no_defect", "mask", "masks", "gt", "ground_truth", "label", "labels"})

Answer = Response | tuple[Response, int]


@blueprint.get("/review")
def review_page() -> Response:
    """Show one part after the other to be answered, filled by static/review.js."""
    station = current_station()
    return never_stored(make_response(render_template("review.html", station=station.config.name, token=csrf_token())))


@blueprint.post("/api/seen")
def see() -> Answer:
    """Note that somebody looked at a reject (`part`), or at all up to one (`up_to`)."""
    station, given = current_station(), given_fields()
    part, up_to = given_number(given, "part", 0), given_number(given, "up_to", 0)
    if not part and not up_to:
        abort(400, "part: send the number of the reject, or up_to for all before it")
    with station.history() as log:
        last = log.last_id() if log else 0
    if max(part, up_to) > last:
        abort(404, f"there is no inspection {max(part, up_to)} in the history")
    who = current_user().name or given_text(given, "who")
    record("seen", "", ", ".join([f"part {part}"] * bool(part) + [f"all up to part {up_to}"] * bool(up_to)))
    return _stored(station, lambda store: store.see([part] if part else [], who, up_to), {"ok": True})


@blueprint.get("/api/reviews/queue")
def queue() -> Response:
    """Answer with parts to review: those nearest to the limit and the random sample in turn."""
    limit = number("limit", 12, 1, 50)
    return never_stored(jsonify(Queue(current_station()).facts(limit)))


@blueprint.get("/api/reviews")
def listed() -> Response:
    """Answer with the answers that count, the last ones first; with `part` the last one on that part, or none."""
    limit = number("limit", 50, 1, 500)
    part = number("part", 0, 1, MAX_ID) if "part" in request.args else None
    with current_station().reviews() as store:
        if part is None:
            found = store.standing() if store else []
        else:
            found = [review] if store and (review := store.last(part)) else []
    rows = [review_facts(review) for review in reversed(found[-limit:])]
    return never_stored(jsonify(reviews=rows, total=len(found)))


@blueprint.post("/api/reviews")
def answer() -> Answer:
    """Store what a person says of a part.

    An opinion of `none` takes the answer back, and `before` lets the answer count again that the last one replaced.
    """
    station, given = current_station(), given_fields()
    row, row_hash = _row(station, given_number(given, "part", None))
    word = _word(given, "opinion", [*(one.value for one in Opinion), BEFORE])
    draft = Draft(
        part=row.id,
        row_hash=row_hash,
        opinion=Opinion.NONE if word == BEFORE else Opinion(word),
        origin=_origin(station, given, row.id),
        who=given_who(given),
        label=_label(given),
        mask=_mask(given),
    )
    after = given_number(given, "after", -1)
    if word == BEFORE and after < 1:
        abort(400, "after: is missing; send the number of the answer that is taken back")
    record("review", "", f"part {draft.part}: {f'answer {after} taken back' if word == BEFORE else word}")
    try:
        if word == BEFORE:
            return _stored(station, lambda store: store.put_back(draft, after), None)
        return _stored(station, lambda store: store.add(draft, None if after < 0 else after), None)
    except ReviewConflictError as error:
        standing = review_facts(error.standing) if error.standing else None
        return jsonify(error=one_line(error), review=standing), 409


def _stored(station: Station, write: Any, facts: dict[str, Any] | None) -> Answer:
    """Write into the file of reviews; a disk that takes nothing is said, and the page keeps the answer."""
    try:
        with closing(ReviewStore(station.config.page_dir)) as store:
            written = write(store)
    except ReviewConflictError:
        raise
    except HistoryError as error:
        remedy = "the disk is full: free some space" if error.disk_full else one_line(error)
        return never_stored(jsonify(error=f"not stored ({remedy}); nothing was changed, tap again")), 503
    return never_stored(jsonify(facts if facts is not None else review_facts(written)))


def given_fields() -> dict[str, Any]:
    """Return the fields of a JSON object or a form; aborts with 400 and 413."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        abort(413, f"an answer has at most {MAX_BODY_BYTES} bytes; draw a simpler mask")
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    if not isinstance(given, dict):
        abort(400, "send the fields as a JSON object or as a form")
    return given


def given_number(given: dict[str, Any], name: str, default: int | None = None) -> int:
    """Return a whole number that can be a part's; aborts with 400."""
    value = given.get(name, default)
    text = str(value)
    if value is None:
        abort(400, f"{name}: is missing; send a whole number")
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) or not -1 <= int(text) <= MAX_ID:
        abort(400, f"{name}: must be a whole number, got {shown(text)}")
    return int(text)


def _word(given: dict[str, Any], name: str, words: list[str]) -> str:
    value = given.get(name)
    if value not in words:
        abort(400, f"{name}: must be {', '.join(words[:-1])} or {words[-1]}, got {shown(str(value))}")
    return str(value)


def given_text(given: dict[str, Any], name: str, longest: int = LONGEST_NAME) -> str:
    """Return a text as one line; aborts with 400 when it is too long or holds what no file takes."""
    value = given.get(name, "")
    text = " ".join(str(value).split())
    if not isinstance(value, str) or len(text) > longest or not text.isprintable():
        abort(400, f"{name}: must be a text of at most {longest} characters, got {shown(text)}")
    return text


def given_who(given: dict[str, Any]) -> str:
    """Return who gives an answer: whoever is signed in, else the name that is given; aborts with 400 without one."""
    return current_user().name or given_text(given, "who") or abort(400, "who: send your name; it is kept with this")


def _label(given: dict[str, Any]) -> str:
    """Return the type of defect as a folder of a data set is called; aborts with 400."""
    label = re.sub(r"[\s-]+", "_", given_text(given, "label").lower())
    if label and (not re.fullmatch(LABEL, label) or label in NO_LABELS):
        abort(400, f"label: must be letters, digits and lines, like scratch or edge_chip, got {shown(label)}")
    return label


def _mask(given: dict[str, Any]) -> str:
    mask = given.get("mask") or ""
    text = mask if isinstance(mask, str) else json.dumps(mask, separators=(",", ":"))
    if len(text) > LONGEST_MASK:
        abort(400, f"mask: has {len(text)} characters, at most {LONGEST_MASK} are taken; draw a simpler one")
    try:
        return checked_mask(text)
    except MaskError as error:
        abort(400, f"mask: {one_line(error)}")


def _origin(station: Station, given: dict[str, Any], part: int) -> Origin:
    """Return how the part came up; what was not drawn by chance cannot be called a sample. Aborts with 400."""
    origin = Origin(_word({"origin": "chosen"} | given, "origin", [one.value for one in Origin]))
    if origin is not Origin.CHOSEN and Queue(station).is_sample(part) != (origin is Origin.SAMPLE):
        abort(400, f"origin: part {part} was not drawn so; use the origin that the queue gives")
    return origin


def _row(station: Station, part: int) -> tuple[Inspection, str]:
    with station.history() as log:
        row = log.get(part) if log else None
        row_hash = log.hash_of(part) if log else None
    if row is None or row_hash is None:
        abort(404, f"there is no inspection {part} in the history")
    return row, row_hash
