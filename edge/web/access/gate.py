"""The gate: it finds out who sends a request, refuses what they may not do, and records what they did."""

from __future__ import annotations

import ipaddress
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from flask import Flask, Response, abort, current_app, g, jsonify, redirect, request, session, url_for
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response as Answer

from edge.config.station import StationConfig
from edge.history.audit import AuditLog, Deed
from edge.history.database import HistoryError
from edge.people import PeopleError
from edge.people.roles import EVERYBODY, GUEST, Role, User, Via
from edge.people.store import People
from edge.people.throttle import network
from edge.web.access.refusals import Refusals
from edge.web.access.rights import ASKS_A_PERSON, ASKS_NOBODY, RIGHTS
from edge.web.access.sessions import Sessions
from edge.web.guard import SAFE_METHODS, csrf_token

KEY = "who"  # of the session's id in the signed cookie
# These record themselves, by name; of an upload only the beginning.
UNRECORDED = frozenset({"people.sign_in", "people.join", "people.sign_out", "bundles.upload"})


@dataclass(slots=True)
class Access:
    """The people of a page, their sessions and their audit: one for all stations that the page shows."""

    page_dir: Path
    people: People
    sessions: Sessions
    guests_may_look: bool
    fingerprint: str = ""  # of the page's certificate, SHA-256; empty without TLS
    refusals: Refusals = field(default_factory=Refusals)
    _audit: AuditLog | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, config: StationConfig) -> Access:
        """Return the access to the page of this station.toml."""
        page = config.page
        sessions = Sessions(page.idle_minutes * 60.0)
        return cls(config.page_dir, People(config.page_dir), sessions, page.guests_may_look)

    def record(self, deed: Deed) -> None:
        """Append a row to the audit; raises HistoryError, and then nothing may be done."""
        with self._opening:
            if self._audit is None:
                self._audit = AuditLog(self.page_dir)
        self._audit.append(deed)


def install(app: Flask, access: Access, station: str) -> None:
    """Ask every request who sends it, before any view sees it."""
    app.extensions["linewatch_access"] = access
    app.extensions["linewatch_name"] = station

    @app.before_request
    def check_person() -> Answer | None:
        g.user = GUEST if request.endpoint in ASKS_NOBODY else _user(access)
        if request.endpoint is None:
            return None  # no such address: whoever asks is told so
        if request.endpoint not in RIGHTS:
            abort(403, "this address belongs to no role; it is missing in the table of rights")
        needed = RIGHTS[request.endpoint]
        return None if g.user.may(needed) else _refused(cast("Role", needed))

    @app.after_request
    def record_outcome(response: Response) -> Response:
        if "needs" in g:
            response.headers["X-Needs-Role"] = g.needs
        return _recorded(response)

    @app.context_processor
    def person() -> dict[str, object]:
        return {"user": g.get("user", GUEST), "fingerprint": access.fingerprint}


def current_access() -> Access:
    """Return the access of the application that handles this request."""
    return cast("Access", current_app.extensions["linewatch_access"])


def current_user() -> User:
    """Return whoever sent this request. The name is empty where nobody is set up; the role is an engineer's then."""
    return cast("User", g.get("user", GUEST))


def record(what: str, before: str = "", after: str = "", who: User | None = None) -> None:
    """Store who asks for what, before it is carried out; its outcome is stored with the answer.

    before, after: what it was and what it is to be, in words. Raises HistoryError, which refuses the request.
    """
    g.deed = _deed(what, before, after, who or current_user())
    current_access().record(replace(g.deed, outcome="asked"))


def record_done(what: str, outcome: str, who: User) -> None:
    """Store what somebody did, with its outcome: for what is not carried out by the station."""
    current_access().record(replace(_deed(what, "", "", who), outcome=outcome))


def record_refused(what: str, why: str, who: User) -> None:
    """Store that somebody was refused, as long as such rows are few; raises HistoryError."""
    more = current_access().refusals.said(what, who.name, network(request.remote_addr or ""))
    if more is not None:
        record_done(what, f"{why}; {more}" if more else why, who)


def begin_session(user: User) -> None:
    """Sign a person in: the browser gets a new cookie, token and id, so that nobody can have known them before."""
    old = session.get(KEY)
    session.clear()
    session[KEY] = current_access().sessions.begin(user.name, cast("Role", user.role), old)
    g.user = user
    csrf_token()


def end_session() -> None:
    """Sign out; a tablet that belongs to a viewer is that viewer's again."""
    old = session.get(KEY)
    session.clear()
    fresh = current_access().sessions.end(old)
    if fresh is not None:
        session[KEY] = fresh
    g.user = _user(current_access())
    csrf_token()


def check_people(access: Access, host: str) -> str | None:
    """Return the one-time code for the first engineer, None when somebody is set up.

    Raises PeopleError where the page would be open to a network and nobody is set up.
    """
    code = access.people.first_code()
    if code is not None and not on_loopback(host):
        raise PeopleError(
            f"page.host: {host!r} shows the page to a network, and nobody is set up; on the station run "
            "`python -m edge users add NAME engineer --config FILE`, or set page.host to 127.0.0.1"
        )
    return code


def on_loopback(host: str) -> bool:
    """Return whether only this computer reaches a page that listens on this host."""
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _user(access: Access) -> User:
    given = request.headers.get("Authorization", "")
    if given:
        kind, _, token = given.partition(" ")
        found = access.people.program(token.strip()) if kind.lower() == "bearer" else None
        if found is None and access.people.exist():
            raise Unauthorized("the bearer token is not valid here; ask an engineer for one")
        if found is not None:
            return found
    known = access.sessions.find(session.get(KEY), acted=_acted())
    if known is not None:
        key, found_session = known
        if key != session.get(KEY):
            session[KEY] = key
        role = access.people.role_of(found_session.name)  # a person who was removed is nobody from that moment on
        if role is not None:
            return User(found_session.name, role, Via.PAGE)
    if not access.people.exist():
        return EVERYBODY
    return User("", Role.VIEWER, Via.PAGE) if access.guests_may_look else GUEST


def _acted() -> bool:
    """Return whether a person did something; what an open page asks by itself keeps no session awake."""
    return request.method not in SAFE_METHODS or request.blueprint == "pages"


def _refused(needed: Role) -> Answer:
    user = current_user()
    g.needs = needed.value  # the page's script asks for somebody who may, and sends the request again
    if user.role is not None and user.name:
        abort(403, f"this needs {_article(needed)}; {user.name} is {_article(user.role)}")
    if request.endpoint in ASKS_A_PERSON:
        return redirect(url_for("people.sign_in_page", next=request.full_path.rstrip("?")), 303)
    raise Unauthorized(f"this needs {_article(needed)}; sign in, and it is done then")


def _article(role: Role) -> str:
    return f"{'a' if role is Role.VIEWER else 'an'} {role}"


def _deed(what: str, before: str, after: str, who: User) -> Deed:
    role = who.role.value if who.role and who.via is not Via.OPEN else ""
    name = _typed_name() if who.via is Via.OPEN else who.name
    station = str(current_app.extensions["linewatch_name"])
    return Deed(name, role, who.via.value, request.remote_addr or "", station, what, before, after)


def _typed_name() -> str:
    """Return the name that came with a command where nobody is set up; nobody has proven it."""
    given = request.get_json(silent=True) if request.is_json else request.form
    name = given.get("who", "") if isinstance(given, dict) else ""
    return name if isinstance(name, str) else ""


def _recorded(response: Response) -> Response:
    """Store the outcome of a command, and a command that its sender may not give.

    A command that recorded nothing itself gets a row by its address.
    """
    deed: Deed | None = g.get("deed")
    done = response.status_code < 400
    what = deed.what if deed else f"{request.method} {request.path}"
    if deed is None:
        wanted = done or response.status_code in {401, 403}
        if request.method in SAFE_METHODS or not wanted or request.endpoint in UNRECORDED | {None}:
            return response
    facts = None if done or response.is_streamed else response.get_json(silent=True)
    said = facts.get("error", "") if isinstance(facts, dict) else ""
    outcome = "done" if done else f"refused ({response.status_code}): {said}"
    try:
        if deed is None and not done:
            record_refused(what, outcome, current_user())
        else:
            current_access().record(replace(deed or _deed(what, "", "", current_user()), outcome=outcome))
    except HistoryError as error:
        answer = jsonify(error=f"{what}: {outcome}, but this cannot be recorded: {error}")
        answer.status_code = 503
        return answer
    return response
