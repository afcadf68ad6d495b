"""The page of a shift and of an order, their numbers for programs, and the order that is made now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, jsonify, make_response, render_template, request

from edge import __version__
from edge.config.shift import order_number
from edge.core.types import one_line
from edge.history.database import HistoryError
from edge.history.orders import OrderConflictError
from edge.web.access.gate import current_user, record
from edge.web.guard import csrf_token
from edge.web.shift.numbers import order_facts, order_store, share_text, shift_facts
from edge.web.station import current_station
from edge.web.views.api import never_stored
from edge.web.views.parameters import moment, shown
from edge.web.views.reviews import given_fields, given_text

blueprint = Blueprint("shift", __name__)
blueprint.after_request(never_stored)
MOST_LISTED = 20
YEARS = range(1971, 9000)  # in which a shift's neighbours are times, too


@blueprint.get("/shift")
def shift_page() -> Response:
    """Show a shift or an order in numbers, as a page that prints well; static/shift.js keeps it fresh."""
    station = current_station()
    facts = _facts()
    with order_store(station) as store:
        current, recent = store.current(), store.recent(MOST_LISTED)
    return make_response(
        render_template(
            "shift.html",
            station=station.config.name,
            s=facts,
            current_order=current,
            orders=recent,
            token=csrf_token(),
            share=share_text,
            version=__version__,
            printed=datetime.now(UTC),
        )
    )


@blueprint.get("/api/shift")
def shift() -> Response:
    """Answer with the shift of the moment `at`, now by default, or with all parts of an `order`."""
    return jsonify(_facts())


@blueprint.get("/api/orders")
def orders() -> Response:
    """Answer with the order in force and the last ones."""
    with order_store(current_station()) as store:
        return jsonify(order=store.current(), recent=store.recent(MOST_LISTED))


@blueprint.post("/api/order")
def set_order() -> Response | tuple[Response, int]:
    """Put an order in force: `order`, empty for none. `before`: the order that its author saw."""
    station, given = current_station(), given_fields()
    if "order" not in given:
        abort(400, "order: is missing; send the number of the order, or an empty text for none")
    name = _order(given_text(given, "order"))
    before = given_text(given, "before") if "before" in given else None
    with order_store(station) as store:
        record("order", store.current(), name or "none")
    try:
        with order_store(station, write=True) as store:
            store.set(name, current_user().name or given_text(given, "who"), before)
    except OrderConflictError as error:
        return jsonify(error=one_line(error), order=error.standing), 409
    except HistoryError as error:
        remedy = "the disk is full: free some space" if error.disk_full else one_line(error)
        return jsonify(error=f"not stored ({remedy}); the order is as it was, try again"), 503
    return jsonify(order=name)


def _facts() -> dict[str, Any]:
    now = datetime.now(UTC)
    if "order" in request.args:
        name = _order(request.args["order"])
        facts = order_facts(current_station(), name, now) if name else None
        return facts or abort(404, f"order: {shown(name)} was never made here")
    at = moment("at") or now
    if at.year not in YEARS:
        abort(400, f"at: must be a time of the years {YEARS[0]} to {YEARS[-1]}, got {shown(request.args['at'])}")
    return shift_facts(current_station(), at, now)


def _order(text: str) -> str:
    try:
        return order_number(text)
    except ValueError as error:
        abort(400, f"order: {error}")
