"""The live picture and the stored ones."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, abort, request, send_file

from edge.web.station import current_station
from edge.web.views.api import MAX_ID

blueprint = Blueprint("pictures", __name__)
KEPT_S = 24 * 3600  # a stored picture never changes


@blueprint.get("/live.jpg")
def live() -> Response:
    """The newest frame with heatmap and outline, untouched with ?raw=1. Unchanged pictures answer 304."""
    path = current_station().latest_picture(raw=request.args.get("raw") == "1")
    return _jpeg(path, "private, no-cache", "there is no live picture yet; the engine writes one with its first part")


@blueprint.get(f"/pictures/<int(max={MAX_ID}):inspection_id>/<any(frame, heat, thumb):kind>")
def stored(inspection_id: int, kind: str) -> Response:
    """One stored picture: kind is frame, heat or thumb."""
    path = current_station().picture(inspection_id, kind)
    missing = f"the {kind} picture of inspection {inspection_id} is not stored (any more)"
    if path is None:
        abort(404, missing)
    return _jpeg(path, f"private, max-age={KEPT_S}, immutable", missing)


def _jpeg(path: Path, cache: str, missing: str) -> Response:
    """The file as it is at this moment: the engine may replace or delete it at any time."""
    try:
        response = send_file(path, mimetype="image/jpeg", conditional=True, etag=True)
    except FileNotFoundError:
        abort(404, missing)
    response.headers["Cache-Control"] = cache
    return response
