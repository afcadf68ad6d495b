"""Routes for the limit of a bundle: what another one would do, and the wish to judge by it."""

from __future__ import annotations

import math
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, jsonify, make_response, render_template, request

from edge.exchange.commands import LimitWish
from edge.exchange.health import Health
from edge.history.limits import LIMITS, LimitChange, LimitLog
from edge.inference.bundle import Bundle
from edge.web.access.gate import record
from edge.web.facts import inspection_facts
from edge.web.guard import csrf_token
from edge.web.review.limit import curve, effect, guarantee, judged_parts
from edge.web.station import Station, current_station
from edge.web.views.api import never_stored
from edge.web.views.commands import LOOK_EVERY_S, OUTCOME_WITHIN_S, Answer, carry_out, ready, refused
from edge.web.views.parameters import shown
from edge.web.views.reviews import given_fields, given_text, given_who

blueprint = Blueprint("limit", __name__)
MOST_SHOWN = 24
LONGEST_REASON = 300


@blueprint.get("/limit")
def limit_page() -> Response:
    """Show what the answers say about the limit, filled by static/limit.js."""
    station = current_station()
    return never_stored(make_response(render_template("limit.html", station=station.config.name, token=csrf_token())))


@blueprint.get("/api/limit")
def limit() -> Response:
    """Answer with the limit that judges and what the answered parts say; with `at` also of another limit."""
    station = current_station()
    asked = _number(request.args["at"], "at") if "at" in request.args else None
    health, bundle = _running(station)
    typical = bundle.manifest.typical_score
    at = health.threshold if asked is None else _within(asked, typical, health.threshold)
    parts = judged_parts(station, health.bundle)
    found = effect(parts, health.threshold, at)
    sampled = [part for part in parts if part.sampled]
    return never_stored(
        jsonify(
            bundle=health.bundle,
            typical=typical,
            threshold=health.threshold,
            bundle_threshold=bundle.manifest.threshold.value,
            own_limit=health.own_limit,
            at=at,
            at_distance=(at - typical) / (health.threshold - typical),
            effect=found | {"changed": _changed(station, found["changed"], parts)},
            changed=len(found["changed"]),
            guarantee=guarantee(parts, at),
            curve=curve(sampled),
            curve_all=curve(parts),
            log=[_change(one) for one in _log(station)],
        )
    )


@blueprint.post("/api/limit")
def apply() -> Answer:
    """Judge by another limit from now on. Fields: `before`, `after` (`own`: the bundle's), `who`, `reason`."""
    station, given = current_station(), given_fields()
    before = ready(station)
    _, bundle = _running(station)
    after = given.get("after")
    wish = LimitWish(
        before=_number(given.get("before"), "before"),
        after=None if after in (None, "", "own") else _number(after, "after"),
        bundle_digest=bundle.digest,
        who=given_who(given),
        reason=given_text(given, "reason", LONGEST_REASON) or abort(400, "reason: say why; it is kept with the change"),
    )
    wanted = bundle.manifest.threshold.value if wish.after is None else wish.after
    if wish.before == before.threshold == wanted:
        return refused(409, f"the limit is {wanted:g} already; nothing was changed")
    record("limit", f"{wish.before:g}", f"{wanted:g}: {wish.reason}")
    answer = carry_out(station, lambda: station.requests.set_limit(wish), lambda now: _applied(before, now))
    return _overtaken(station, wish) or answer if _refused(answer) else answer


def _refused(answer: Answer) -> bool:
    return isinstance(answer, tuple) and answer[1] == 409


def _overtaken(station: Station, wish: LimitWish) -> Answer | None:
    """Return what to tell whoever asked while somebody else's change was made or proven, with the limit of now."""
    asked, give_up = datetime.now(UTC), time.monotonic() + OUTCOME_WITHIN_S
    while time.monotonic() < give_up:
        health = station.engine().health
        if health is not None and health.written_at > asked and health.recipe_pending is None:
            if health.threshold == wish.before:
                return None
            return refused(
                409,
                f"the limit is {health.threshold:g} by now, somebody else changed it; look at it and decide again",
                threshold=health.threshold,
            )
        time.sleep(LOOK_EVERY_S)
    return None


def _applied(before: Health, now: Health) -> Answer | None:
    if now.limits_decided == before.limits_decided:
        return None
    if now.limit_fault:
        return refused(409, f"{now.limit_fault}; the limit stays at {before.threshold:g}")
    text = f"The limit is {now.threshold:.4g} from now on, it was {before.threshold:.4g}."
    return jsonify(threshold=now.threshold, before=before.threshold, own_limit=now.own_limit, text=text)


def _running(station: Station) -> tuple[Health, Bundle]:
    """Return what the engine runs, or ran last; aborts with 503 when it never ran."""
    health = station.engine().health
    if health is None:
        abort(503, "the engine has not started yet; start it")
    return health, station.bundle(health)


def _within(value: float, typical: float, threshold: float) -> float:
    """Return a limit that parts could be judged by; aborts with 400 for any other one."""
    most = typical + 100.0 * (threshold - typical)
    if not typical < value <= most:
        abort(400, f"at: must be above {typical:g}, the score of a typical good part, and at most {most:g}")
    return value


def _number(given: Any, name: str) -> float:
    try:
        value = math.nan if isinstance(given, bool) or given is None else float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        abort(400, f"{name}: must be a number in units of the score, got {shown(str(given))}")
    return value


def _changed(station: Station, numbers: list[int], parts: Any) -> list[dict[str, Any]]:
    """Return the last of the parts that another limit would judge otherwise, with what people said of them."""
    opinions = {part.part: part.opinion.value for part in parts}
    with station.history() as log:
        rows = [log.get(number) for number in numbers[: -MOST_SHOWN - 1 : -1]] if log else []
    return [inspection_facts(row, station) | {"opinion": opinions[row.id]} for row in rows if row]


def _log(station: Station) -> list[LimitChange]:
    if not (station.config.state_dir / LIMITS).exists():
        return []
    with closing(LimitLog(station.config.state_dir, read_only=True)) as limits:
        return limits.recent(MOST_SHOWN)


def _change(change: LimitChange) -> dict[str, Any]:
    return {
        "who": change.who,
        "at": change.at.isoformat(timespec="seconds"),
        "reason": change.reason,
        "before": change.before,
        "after": change.after,
        "digest": change.bundle_digest[:12],
    }
