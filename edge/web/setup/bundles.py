"""Routes for the bundles: what is there, an upload, and wishes that `edge bundle attend` carries out."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, jsonify, make_response, render_template, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.core.types import one_line
from edge.exchange import ExchangeError
from edge.exchange.bundle_desk import MOST_PARTS, WISH, Act, Wish, leave_wish, read_outcome
from edge.web.access.bodies import PIECE_BYTES
from edge.web.access.gate import current_user, record
from edge.web.guard import csrf_token
from edge.web.setup.promise import bundles_facts
from edge.web.setup.upload import MAX_BYTES, UploadError, current_upload
from edge.web.station import Station, current_station
from edge.web.views.api import never_stored
from edge.web.views.commands import Answer, refused
from edge.web.views.parameters import form_fault, shown
from edge.web.views.reviews import given_fields, given_text, given_who

blueprint = Blueprint("bundles", __name__)
blueprint.after_request(never_stored)
SHORTEST_REASON = 10  # characters, as `edge bundle allow-rollback` wants


class BundleWish(BaseModel):
    """What is wished for about bundles."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    act: Act
    bundle: str | None = Field(default=None, description="The folder of a bundle, as the list names it.")
    recipe: str = Field(default="default", max_length=64)
    parts: int = Field(default=50, ge=1, le=MOST_PARTS, description="Of a shadow run.")
    coming: bool = Field(default=False, description="A shadow run of the next parts, not of the last ones.")
    new_product: bool = Field(default=False, description="The recipe may judge another product from now on.")
    who: str = Field(default="", max_length=80)
    reason: str = Field(default="", max_length=300)


@blueprint.get("/bundles")
def bundles_page() -> Response:
    """Show the bundles, filled by static/bundles.js."""
    station = current_station()
    html = render_template("bundles.html", station=station.config.name, token=csrf_token(), piece=PIECE_BYTES)
    return make_response(html)


@blueprint.get("/api/bundles")
def bundles() -> Response:
    """Answer with the bundles of this station, what they promise, and what became of the last wish."""
    station = current_station()
    health = station.engine().health
    report = read_outcome(station.config.run_dir)
    return jsonify(
        bundles_facts(station.config)
        | {
            "engine": {"alive": station.engine().alive, "recipe": health and health.recipe}
            | {"bundle": health and health.bundle, "fault": health and health.recipe_fault},
            "report": None if report is None else report.model_dump(mode="json"),
            "waits_s": _waits_s(station),
            "uploaded": current_upload().waiting(),
        }
    )


@blueprint.post("/api/bundles")
def wish() -> Answer:
    """Leave a wish: check an upload, run a bundle in shadow, activate it, confirm it, or go back."""
    station, given = current_station(), given_fields()
    form = _form(given)
    who, reason = given_who(given), given_text(given, "reason", 300)
    if form.recipe not in station.config.bundles:
        abort(400, f"recipe: {shown(form.recipe)} is not one of this station's recipes")
    if form.act in {Act.SHADOW, Act.ACTIVATE} and form.bundle is None:
        abort(400, "bundle: is missing; choose a bundle")
    try:
        asked = Wish.model_validate(
            form.model_dump() | {"id": secrets.token_hex(8), "who": who, "reason": reason, "act": form.act}
        )
    except ValidationError as error:
        abort(400, form_fault(error, "wish"))
    _refuse_early(asked, station)
    record(f"bundle {asked.act}", "", " ".join(filter(None, (asked.bundle, f"recipe {asked.recipe}", asked.reason))))
    if asked.act is Act.STOP and _waits_s(station) is not None:
        (station.config.page_dir / WISH).unlink(missing_ok=True)
        return jsonify(id=asked.id, text="The wish was taken back.")
    try:
        leave_wish(station.config.page_dir, asked)
    except ExchangeError as error:
        return refused(409, one_line(error))
    except OSError as error:
        return refused(503, f"the wish cannot be left ({error.strerror}); free some space, then try again")
    return jsonify(id=asked.id, text="The station works on it.")


@blueprint.post("/api/bundles/upload")
def upload() -> Answer:
    """Take one piece of a bundle's file; the pieces come in their order, `at` is where this one begins."""
    key, at, size = _upload_query()
    if at == 0:
        record("bundle upload", "", f"{size} bytes")
    if (request.content_length or 0) > PIECE_BYTES:
        abort(413, f"a piece has at most {PIECE_BYTES} bytes; send the file in pieces")
    try:
        there = current_upload().take(key, at, size, request.get_data(cache=False), current_user().name or "somebody")
    except UploadError as error:
        return refused(error.status, one_line(error))
    return jsonify(at=there, whole=there == size)


def _form(given: dict[str, Any]) -> BundleWish:
    try:
        return BundleWish.model_validate(given)
    except ValidationError as error:
        abort(400, form_fault(error, "wish"))


def _refuse_early(asked: Wish, station: Station) -> None:
    """Refuse what cannot succeed, before anybody waits for it."""
    if asked.act is Act.CHECK and current_upload().waiting() is None:
        abort(409, "no uploaded file waits; choose an .lwb file first")
    if asked.act is Act.ROLL_BACK:
        (recipe,) = (one for one in bundles_facts(station.config)["recipes"] if one["name"] == asked.recipe)
        if recipe["needs_reason"] and len(asked.reason) < SHORTEST_REASON:
            abort(400, f"reason: an older version is to judge; say why in {SHORTEST_REASON} characters or more")


def _waits_s(station: Station) -> float | None:
    """Return for how long a wish waits to be taken, in s; None where none waits."""
    try:
        return max(0.0, round(datetime.now(UTC).timestamp() - (station.config.page_dir / WISH).lstat().st_mtime, 1))
    except OSError:
        return None


def _upload_query() -> tuple[str, int, int]:
    given = request.args
    if "key" in given and not re.fullmatch(r"[0-9a-f]{16,64}", given["key"]):
        abort(400, f"key: must be 16 to 64 hex digits, got {shown(given['key'])}")
    numbers = {}
    for name, least in (("at", 0), ("size", 1)):
        if name in given:
            if not re.fullmatch(r"[0-9]{1,12}", given[name], re.ASCII) or int(given[name]) < least:
                abort(400, f"{name}: must be a number of bytes, got {shown(given[name])}")
            numbers[name] = int(given[name])
    if "key" not in given or len(numbers) < 2:
        abort(400, "key, at and size: all three are needed; the page sends them")
    if numbers["size"] > MAX_BYTES:
        abort(413, f"size: more than a bundle has ({MAX_BYTES} bytes); choose an .lwb file")
    return given["key"], numbers["at"], numbers["size"]
