"""Sign in and out, and set up who may do what; for the page's scripts and for other programs alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

from flask import Blueprint, Response, abort, jsonify, make_response, render_template, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.history.audit import AUDIT, AuditLog
from edge.people import PeopleError, WaitError, WrongError
from edge.people.roles import Role, User, Via
from edge.web.access.gate import (
    begin_session,
    current_access,
    current_user,
    end_session,
    record,
    record_done,
    record_refused,
)
from edge.web.guard import csrf_token
from edge.web.views.parameters import form_fault, number

blueprint = Blueprint("people", __name__)
MAX_AUDIT = 200
Form = TypeVar("Form", bound=BaseModel)
Name = Annotated[str, Field(min_length=1, max_length=80)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SignIn(_Form):
    """A person's name with their PIN or password."""

    name: Name
    secret: Annotated[str, Field(min_length=1, max_length=128)]


class Join(SignIn):
    """A one-time code, and the PIN or password that the person chooses."""

    code: Annotated[str, Field(min_length=1, max_length=40)]


class Named(_Form):
    """A person, or a token, by name."""

    name: Name


class Newcomer(Named):
    """A person or a program to be set up."""

    role: Role


@blueprint.after_request
def never_kept(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.errorhandler(PeopleError)
def not_accepted(error: PeopleError) -> tuple[Response, int]:
    """Answer why a person, a code or a token is not accepted."""
    return jsonify(error=str(error)), 403 if isinstance(error, WrongError) else 409


@blueprint.errorhandler(WaitError)
def too_often(error: WaitError) -> Response:
    """Answer how long the next try has to wait."""
    answer = jsonify(error=str(error))
    answer.status_code = 429
    answer.headers["Retry-After"] = str(error.seconds)
    return answer


@blueprint.get("/sign-in")
def sign_in_page() -> Response:
    """Show the sign-in, with a keypad for the PIN."""
    return make_response(render_template("sign_in.html", token=csrf_token(), next=_next()))


@blueprint.post("/api/sign-in")
def sign_in() -> Response:
    """Sign a person in by name and PIN or password."""
    form = _form(SignIn)
    with _refusal_recorded("sign in", form.name):
        user = current_access().people.sign_in(form.name, form.secret, request.remote_addr or "")
    record_done("sign in", "done", user)
    begin_session(user)
    return _me()


@blueprint.post("/api/join")
def join() -> Response:
    """Set a person's PIN or password with a one-time code, and sign them in."""
    form = _form(Join)
    with _refusal_recorded("set PIN or password", form.name):
        user = current_access().people.join(form.code, form.name, form.secret, request.remote_addr or "")
    record_done("set PIN or password", "done", user)
    current_access().sessions.end_all_of(user.name)
    begin_session(user)
    return _me()


@blueprint.post("/api/sign-out")
def sign_out() -> Response:
    """End this browser's session."""
    if current_user().name:
        record_done("sign out", "done", current_user())
    end_session()
    return _me()


@blueprint.get("/api/me")
def me() -> Response:
    """Answer who this is, what they may do, and the token for their posts."""
    return _me()


@blueprint.get("/people")
def people_page() -> Response:
    """Show who is set up, the tokens, and the last rows of the audit."""
    return make_response(render_template("people.html", token=csrf_token(), roles=list(Role)))


@blueprint.get("/api/people")
def listed() -> Response:
    """List the people and the bearer tokens, without any secret."""
    people = current_access().people
    if not people.exist():
        return jsonify(people=[], tokens=[])
    return jsonify(
        people=[{"name": one.name, "role": one.role, "ready": one.ready} for one in people.accounts()],
        tokens=[
            {"name": one.name, "role": one.role, "created_at": one.created_at.isoformat()} for one in people.tokens()
        ],
    )


@blueprint.post("/api/people")
def add() -> Response:
    """Set up a person; answers the one-time code with which they choose their PIN or password within a day."""
    form = _form(Newcomer)
    _somebody()
    record("add a person", "", f"{form.name} ({form.role})")
    return jsonify(name=form.name, role=form.role, code=current_access().people.add(form.name, form.role))


@blueprint.post("/api/people/code")
def renew_code() -> Response:
    """Make a new one-time code for a person who has lost the code, the PIN or the password."""
    form = _form(Named)
    _somebody()
    record("new code", "", form.name)
    return jsonify(name=form.name, code=current_access().people.renew_code(form.name))


@blueprint.post("/api/people/remove")
def remove() -> Response:
    """Remove a person, and sign them out everywhere."""
    form = _form(Named)
    _somebody()
    record("remove a person", form.name)
    current_access().people.remove(form.name)
    return jsonify(name=form.name)


@blueprint.post("/api/tokens")
def add_token() -> Response:
    """Make a bearer token for a program; this answer is the only one that shows it."""
    form = _form(Newcomer)
    _somebody()
    record("add a token", "", f"{form.name} ({form.role})")
    return jsonify(name=form.name, role=form.role, token=current_access().people.add_token(form.name, form.role))


@blueprint.post("/api/tokens/revoke")
def revoke_token() -> Response:
    """Make a bearer token worthless from now on."""
    form = _form(Named)
    _somebody()
    record("revoke a token", form.name)
    current_access().people.revoke(form.name)
    return jsonify(name=form.name)


@blueprint.get("/api/audit")
def audit() -> Response:
    """List who did what, newest first. limit 1..200, before: rows with a smaller number."""
    limit = number("limit", 50, 1, MAX_AUDIT)
    before = number("before", 0, 1, 2**62) if "before" in request.args else None
    folder = current_access().page_dir
    if not (folder / AUDIT).exists():
        return jsonify(rows=[])
    log = AuditLog(folder, read_only=True)
    try:
        rows = log.recent(limit, before)
    finally:
        log.close()
    names = ("who", "role", "via", "address", "station", "what", "before", "after", "outcome")
    return jsonify(
        rows=[
            {"id": row.id, "at": row.at.isoformat(timespec="milliseconds")}
            | {name: getattr(row.deed, name) for name in names}
            for row in rows
        ]
    )


@contextmanager
def _refusal_recorded(what: str, name: str) -> Iterator[None]:
    """Store a refused try in the audit. A name that nobody has is left out: it may be a secret in the wrong field."""
    try:
        yield
    except PeopleError as error:
        people = current_access().people
        known = name if people.exist() and people.role_of(name) else ""
        record_refused(what, f"refused: {error}", User(known, None, Via.PAGE))
        raise


def _me() -> Response:
    user, people = current_user(), current_access().people
    names = (
        [one.name for one in people.accounts() if one.ready and one.role is not Role.ENGINEER] if people.exist() else []
    )
    return jsonify(
        name=user.name, role=user.role, via=user.via, people=people.exist(), names=names, csrf_token=csrf_token()
    )


def _somebody() -> None:
    """Abort with 403 where nobody is set up: the first engineer proves with the code to stand at the station."""
    if current_user().via is Via.OPEN:
        abort(403, "nobody is set up yet; set up the first engineer with the code that the page's log shows")


def _form(kind: type[Form]) -> Form:
    """Return the JSON object or form of this request; aborts with 400 and one line."""
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    if not isinstance(given, dict):
        abort(400, f"send a JSON object with {', '.join(kind.model_fields)}")
    given.pop("csrf_token", None)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        abort(400, form_fault(error))


def _next() -> str:
    """Return where a person wanted to go: an address of this page, never of another site."""
    wanted = request.args.get("next", "/")
    safe = (
        wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable() and len(wanted) < 500
    )
    return request.script_root + (wanted if safe else "/")
