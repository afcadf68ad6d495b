"""The guard of the page: it checks host names and cross-site posts, and adds the security headers to every answer."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import threading
from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, request, session
from werkzeug.exceptions import ServiceUnavailable

from edge.web.access.bodies import RETRY_AFTER_S

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105  # a header's name
TOKEN_FIELD = "csrf_token"  # noqa: S105
SLOW = frozenset({
    "api.shift_report", "downloads.history", "commands.recipe", "commands.selftest", "commands.trigger", "limit.apply",
    "limit.limit", "reviews.queue", "downloads.reviewed", "bundles.bundles", "bundles.upload",
    "commissioning.take_step", "service.judge_again", "service.download",
})  # fmt: skip
SLOW_AT_ONCE = 3
POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def install(app: Flask, bound_host: str) -> None:
    """Check every request before any view sees it, and mark every answer."""

    @app.before_request
    def check_request() -> None:
        if not host_allowed(request.host, bound_host):
            abort(421, f"the host name {request.host!r} is not this station's; use http://127.0.0.1 or its address")
        if request.method not in SAFE_METHODS:
            refuse_cross_site()

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def slow_turns() -> threading.BoundedSemaphore:
    """Return the turns of a page for what keeps a thread busy for long."""
    return threading.BoundedSemaphore(SLOW_AT_ONCE)


def few_at_once(app: Flask, turns: threading.BoundedSemaphore) -> None:
    """Let the slow routes have some of the threads and never all of them; more are refused at once."""

    @app.before_request
    def take_turn() -> None:
        if request.endpoint in SLOW:
            if not turns.acquire(blocking=False):
                busy = "the station is busy with such requests; nothing was done, try again in some seconds"
                raise ServiceUnavailable(busy, retry_after=RETRY_AFTER_S)
            g.turn = Turn(turns)

    @app.teardown_request
    def give_turn(_error: BaseException | None) -> None:
        turn: Turn | None = g.get("turn")
        if turn is not None and not turn.kept:
            turn.give()


class Turn:
    """One turn of few_at_once; a view that goes on after its request keeps it and gives it back itself."""

    def __init__(self, turns: threading.BoundedSemaphore) -> None:
        self.kept = False
        self._turns: threading.BoundedSemaphore | None = turns

    def give(self) -> None:
        """Give the turn back; a second call does nothing."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()


def host_allowed(host: str, bound_host: str) -> bool:
    """Return True for the configured host, localhost and loopback addresses.

    A web page that makes its own name resolve to this computer (DNS rebinding) still sends that name. Where
    the page listens on every address, any bare address and the computer's own names are allowed too: an
    address cannot be rebound.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    if name in {"localhost", bound_host.lower().strip("[]")}:
        return True
    wildcard = bound_host in {"0.0.0.0", "::", "[::]"}  # noqa: S104  # compared with, not bound to
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return wildcard and name in {own, own.split(".")[0], f"{own.split('.')[0]}.local"}
    return wildcard or address.is_loopback


def refuse_cross_site() -> None:
    """Abort with 403 unless the post is from this page with its token, or from no browser at all.

    Browsers put Origin or Sec-Fetch-Site on every cross-site post and no page can remove them, so a post with
    neither and without our cookie comes from a program (curl, a script) that nobody can borrow.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site not in {None, "same-origin", "none"}:
        abort(403, "a post from another site is refused; use the station's own page")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        abort(403, "a post from another origin is refused; use the station's own page")
    if (site or origin or session) and not _token_matches():
        abort(403, "the page's token is missing or from before a restart; reload the page and try again")


def csrf_token() -> str:
    """Return this browser's token, which is made on first use and kept in the signed cookie."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(32)
    return str(session["csrf"])


def _token_matches() -> bool:
    given = request.headers.get(TOKEN_HEADER) or request.form.get(TOKEN_FIELD) or ""
    expected = str(session.get("csrf", ""))
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
