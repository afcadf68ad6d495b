"""With which statuses each route may refuse."""

from __future__ import annotations

from werkzeug.routing import Rule

from edge.web.access.rights import ASKS_NOBODY, RIGHTS
from edge.web.guard import SAFE_METHODS

REFUSALS = {
    400: "A parameter or a field is wrong; the line names it.",
    401: "Nobody has signed in, or the token is not valid.",
    403: "The role does not allow it, or the PIN, password or code is wrong.",
    404: "There is no such thing.",
    409: "The station's state does not allow it, or somebody was faster.",
    413: "The body is too large.",
    415: "This is no image.",
    421: "The host name is not this station's.",
    429: "Too many wrong tries; Retry-After says how long to wait.",
    503: "The engine does not run, the station is busy, or a file cannot be used.",
    504: "The engine gave no result in time.",
}
_COMMAND = {409, 504}
FURTHER: dict[str, set[int]] = {  # refusals of a route besides those that all of its kind have
    "api.inspect": {415},
    "commands.trigger": _COMMAND,
    "commands.recipe": _COMMAND,
    "commands.selftest": _COMMAND,
    "limit.limit": {409},
    "limit.apply": _COMMAND,
    "commissioning.take_step": _COMMAND,
    "commissioning.by_hand": _COMMAND,
    "commissioning.region": {409},
    "commissioning.certify": {409},
    "reviews.see": {404},
    "reviews.answer": {404, 409},
    "downloads.live": {404},
    "downloads.reviewed": {404},
    "service.verify": {409},
    "service.judge_again": _COMMAND | {404},
    "shift.shift": {404},
    "shift.set_order": {409},
    "bundles.wish": {409},
    "bundles.upload": {409},
    "people.sign_in": {409, 429},
    "people.join": {409, 429},
    **{f"people.{act}": {409} for act in ("add", "renew_code", "remove", "add_token", "revoke_token")},
}


def refusals(rule: Rule, method: str, asks: bool) -> set[int]:
    """Return the statuses with which a route may refuse. asks: it takes a query."""
    found = FURTHER.get(rule.endpoint, set()) | {421, 503}
    if rule.endpoint not in ASKS_NOBODY:
        found |= {401}
    if RIGHTS.get(rule.endpoint) is not None:
        found |= {403}
    if asks:
        found |= {400}
    if rule.arguments:
        found |= {404}
    return found if method in SAFE_METHODS else found | {400, 403, 413}
