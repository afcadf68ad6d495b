"""Who may do what: every route in every role, sessions, sign-in, and the audit of each command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from edge.history.audit import AuditLog, AuditRow
from edge.inference.bundle import Bundle
from edge.people import PeopleError
from edge.people.roles import Role
from edge.people.store import People
from edge.web.access import refusals, sessions
from edge.web.access.gate import Access, check_people
from edge.web.access.rights import RIGHTS
from edge.web.access.sessions import Sessions
from edge.web.server import create_app, create_page
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, all_commands, part_image

ROLES: tuple[Role | None, ...] = (None, *Role)
SECRETS = {"Vera": (Role.VIEWER, "314159"), "Olaf": (Role.OPERATOR, "271828"), "Erna": (Role.ENGINEER, "correct horse")}
HERE = "http://localhost"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A station with a viewer, an operator and an engineer, and a token for each role."""
    station = StandIn(tmp_path_factory.mktemp("people") / "station", tiny_bundle, port=free_port())
    station.inspect(part_image())
    station.says = all_commands()
    station.start()
    people = People(station.config.state_dir)
    for name in ("Erna", "Olaf", "Vera"):
        role, secret = SECRETS[name]
        people.join(people.add(name, role), name, secret, "")
    people.close()
    yield station
    station.stop()


@pytest.fixture(scope="module")
def tokens(running: StandIn) -> dict[Role, str]:
    people = People(running.config.state_dir)
    found = {role: people.add_token(f"a {role}", role) for role in Role}
    people.close()
    return found


@pytest.fixture
def app(running: StandIn) -> Flask:
    return create_app(running.config)


def sign_in(client: FlaskClient, name: str) -> str:
    """Sign in as a browser does, and return the token for its posts."""
    token = client.get("/api/me").get_json()["csrf_token"]
    facts = {"name": name, "secret": SECRETS[name][1]}
    answer = client.post("/api/sign-in", json=facts, headers={"Origin": HERE, "X-CSRF-Token": token})
    assert (answer.status_code, answer.get_json()["name"]) == (200, name)
    return str(answer.get_json()["csrf_token"])


def audited(station: StandIn) -> list[AuditRow]:
    log = AuditLog(station.config.state_dir, read_only=True)
    try:
        log.verify()
        return log.recent(10)
    finally:
        log.close()


def endpoints(app: Flask) -> dict[str, tuple[str, str]]:
    """Return method and address of every route, with a value for each part of the address."""
    found = {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]*:kind>", "heat", rule.rule)
        path = re.sub(r"<path:filename>", "page.css", re.sub(r"<(int[^>]*|id)>", "1", path))
        found[rule.endpoint] = (min((rule.methods or set()) - {"HEAD", "OPTIONS"}), path)
    return found


def test_every_route_of_every_page_has_a_row_in_the_table(running: StandIn, tmp_path: Path) -> None:
    alone = create_app(running.config)
    config = running.config.model_copy(
        update={"page": running.config.page.model_copy(update={"stations": (running.write_toml(tmp_path / "s.toml"),)})}
    )
    several = create_page(config)
    assert isinstance(several, DispatcherMiddleware)
    assert isinstance(several.app, Flask)
    assert set(RIGHTS) == set(endpoints(alone)) | set(endpoints(several.app))


@pytest.fixture(scope="module")
def unchanged(running: StandIn) -> Flask:
    """The page for what neither signs in nor adds a route."""
    return create_app(running.config)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize("endpoint", sorted(RIGHTS))
def test_every_route_in_every_role(unchanged: Flask, tokens: dict[Role, str], endpoint: str, role: Role | None) -> None:
    if endpoint not in endpoints(unchanged):
        pytest.skip("a route of the overview, which the next test looks at")
    method, path = endpoints(unchanged)[endpoint]
    headers = {"Authorization": f"Bearer {tokens[role]}"} if role else {}
    with unchanged.test_client().open(
        path, method=method, headers=headers, data={} if method == "POST" else None
    ) as answer:
        needed = RIGHTS[endpoint]
        if needed is None or (role is not None and role.covers(needed)):
            wrong_form = 400  # the empty form is read, so the gate has let the request through
            assert answer.status_code in {200, 304, 404, wrong_form, 409}, answer.text
        elif role is None:
            assert answer.status_code in ({303, 401} if method == "GET" else {401})
        else:
            assert answer.status_code == 403


def test_the_overview_asks_who_somebody_is_as_a_station_does(
    running: StandIn, tokens: dict[Role, str], tmp_path: Path
) -> None:
    page = running.config.page.model_copy(update={"stations": (running.write_toml(tmp_path / "s.toml"),)})
    several = create_page(running.config.model_copy(update={"page": page}))
    assert isinstance(several, DispatcherMiddleware)
    assert isinstance(several.app, Flask)
    client = several.app.test_client()
    for path in ("/api/stations", "/metrics"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {tokens[Role.VIEWER]}"}).status_code == 200
    assert client.get("/").headers["Location"] == "/sign-in?next=/"
    assert client.get("/healthz").status_code == 200


def test_a_route_without_a_row_is_refused_to_an_engineer(app: Flask, tokens: dict[Role, str]) -> None:
    app.add_url_rule("/api/new", "new", lambda: "seen")
    answer = app.test_client().get("/api/new", headers={"Authorization": f"Bearer {tokens[Role.ENGINEER]}"})
    assert answer.status_code == 403
    assert "seen" not in answer.text


@pytest.mark.parametrize("token", ["", "lw_", "lw_" + "x" * 43, "\x00", "ü" * 9])
def test_a_wrong_token_is_refused_whatever_the_route_needs(app: Flask, token: str) -> None:
    answer = app.test_client().get("/api/me", headers={"Authorization": f"Bearer {token}".encode().decode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_sign_in_gives_a_new_cookie_so_that_nobody_can_have_known_it(app: Flask) -> None:
    victim = app.test_client()
    victim.get("/api/me")
    planted = victim.get_cookie("linewatch_page")
    token = sign_in(victim, "Olaf")
    fresh = victim.get_cookie("linewatch_page")
    assert planted is not None
    assert fresh is not None
    assert fresh.value != planted.value
    attacker = app.test_client()
    attacker.set_cookie("linewatch_page", planted.value)
    assert attacker.get("/api/me").get_json()["role"] is None
    assert attacker.get("/api/me").get_json()["csrf_token"] != token


def test_a_cookie_that_was_copied_is_worth_nothing_after_the_sign_out(app: Flask) -> None:
    client, thief = app.test_client(), app.test_client()
    token = sign_in(client, "Olaf")
    copied = client.get_cookie("linewatch_page")
    assert copied is not None
    thief.set_cookie("linewatch_page", copied.value)
    assert thief.get("/api/me").get_json()["name"] == "Olaf"
    client.post("/api/sign-out", headers={"Origin": HERE, "X-CSRF-Token": token})
    assert thief.get("/api/me").get_json()["role"] is None


def test_a_signed_in_browser_needs_the_token_of_its_page_for_a_command(app: Flask) -> None:
    client = app.test_client()
    token = sign_in(client, "Olaf")
    assert client.post("/api/selftest").status_code == 403
    assert (
        client.post("/api/selftest", headers={"Origin": "http://evil.example", "X-CSRF-Token": token}).status_code
        == 403
    )
    assert client.post("/api/selftest", headers={"Origin": HERE, "X-CSRF-Token": token}).status_code == 200


def test_a_wrong_pin_says_so_and_too_many_say_how_long_to_wait(app: Flask) -> None:
    client = app.test_client()
    facts = {"name": "Unknown Person", "secret": "000000"}
    answers = [client.post("/api/sign-in", json=facts, environ_base={"REMOTE_ADDR": "192.0.2.1"}) for _ in range(6)]
    assert [one.status_code for one in answers] == [403] * 5 + [429]
    assert "wrong" in answers[0].get_json()["error"]
    assert int(answers[-1].headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"name": 1}', b'{"name": "a", "secret": "b", "role": "engineer"}', b"\xff"]
)
def test_a_body_that_is_no_form_is_one_line(app: Flask, body: bytes) -> None:
    answer = app.test_client().post("/api/sign-in", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert "\n" not in answer.get_json()["error"]


@pytest.mark.parametrize(
    "next_", ["//evil.example", "/\\evil.example", "http://evil.example", "javascript:alert(1)", "/\n"]
)
def test_the_way_back_from_the_sign_in_is_on_this_page(app: Flask, next_: str) -> None:
    page = app.test_client().get("/sign-in", query_string={"next": next_}).text
    assert re.findall(r'data-next="([^"]*)"', page) == ["/"]


def test_an_operators_session_ends_without_an_action_and_the_tablet_is_its_viewers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    found = Sessions(idle_s=900.0)
    viewer = found.begin("Vera", Role.VIEWER, None)
    operator = found.begin("Olaf", Role.OPERATOR, viewer)
    assert found.find(viewer, acted=True) is None
    for _ in range(10):  # the open page asks, nobody acts
        now += 89.0
        assert found.find(operator, acted=False) is not None
    now += 20.0
    fallen = found.find(operator, acted=True)
    assert fallen is not None
    assert (fallen[1].name, fallen[1].role) == ("Vera", Role.VIEWER)
    assert found.find(operator, acted=True) is None
    for _ in range(100):
        now += 3600.0
        assert found.find(fallen[0], acted=False) is not None


def test_a_busy_engineer_signs_in_again_after_half_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    found = Sessions(idle_s=900.0)
    key = found.begin("Erna", Role.ENGINEER, None)
    for _ in range(72):
        now += 600.0
        assert found.find(key, acted=True) is not None
    now += 600.0
    assert found.find(key, acted=True) is None


def test_sessions_are_bounded() -> None:
    found = Sessions(idle_s=900.0)
    keys = [found.begin("Olaf", Role.OPERATOR, None) for _ in range(sessions.MAX_SESSIONS + 1)]
    assert found.find(keys[0], acted=True) is None
    assert found.find(keys[-1], acted=True) is not None


def test_a_person_who_is_removed_is_signed_out_at_once(running: StandIn, app: Flask, tokens: dict[Role, str]) -> None:
    people = People(running.config.state_dir)
    people.join(people.add("Gast", Role.OPERATOR), "Gast", "161803", "")
    SECRETS["Gast"] = (Role.OPERATOR, "161803")
    client = app.test_client()
    sign_in(client, "Gast")
    people.remove("Gast")
    people.close()
    assert client.get("/api/me").get_json()["role"] is None


@pytest.mark.parametrize(
    ("path", "body", "what", "change"),
    [
        ("/api/trigger", {}, "trigger", ("", "")),
        ("/api/recipe", {"recipe": "washer"}, "recipe", ("default", "washer")),
        ("/api/selftest", {}, "self-test", ("", "")),
        ("/api/seen", {"part": 1}, "seen", ("", "part 1")),
    ],
)
def test_a_command_is_in_the_audit_before_and_after_it_is_carried_out(
    running: StandIn, app: Flask, path: str, body: dict[str, str], what: str, change: tuple[str, str]
) -> None:
    client = app.test_client()
    token = sign_in(client, "Olaf")
    running.says = all_commands()
    answer = client.post(path, json=body, headers={"Origin": HERE, "X-CSRF-Token": token})
    done, asked = (row.deed for row in audited(running)[:2])
    assert (asked.who, asked.role, asked.via, asked.what, asked.outcome) == ("Olaf", "operator", "page", what, "asked")
    assert (asked.before, asked.after) == (done.before, done.after) == change
    assert done.outcome.startswith("done" if answer.status_code < 400 else f"refused ({answer.status_code})")


def test_a_command_that_cannot_be_recorded_is_not_carried_out(running: StandIn, tokens: dict[Role, str]) -> None:
    people, before = People(running.config.state_dir), running.says["self_test"]
    in_the_way = running.config.state_dir / "events.db"  # a file where a folder should be
    client = create_app(running.config, Access(in_the_way, people, Sessions(900.0), False)).test_client()
    answer = client.post("/api/selftest", headers={"Authorization": f"Bearer {tokens[Role.OPERATOR]}"})
    people.close()
    assert (answer.status_code, "audit" in answer.get_json()["error"]) == (503, True)
    assert running.says["self_test"] is before


def refused_rows(station: StandIn, address: str) -> list[str]:
    """Return who, what and the outcome of the refusals from an address, oldest first."""
    log = AuditLog(station.config.state_dir, read_only=True)
    rows = [row.deed for row in log.recent(500) if row.deed.address == address]
    log.close()
    return [f"{deed.who} | {deed.what} | {deed.outcome}" for deed in reversed(rows)]


def test_a_wrong_code_and_a_try_that_came_too_early_are_in_the_audit(running: StandIn, app: Flask) -> None:
    here = {"REMOTE_ADDR": "192.0.2.20"}
    people = People(running.config.state_dir)
    people.add("Nina", Role.VIEWER)
    people.close()
    facts = {"name": "Nina", "secret": "161803", "code": "AAAA-BBBB-CCCC"}
    for _ in range(6):
        app.test_client().post("/api/join", json=facts, environ_base=here)
    rows = refused_rows(running, "192.0.2.20")
    assert rows[0].startswith("Nina | set PIN or password | refused: the code is not the one")
    app.test_client().post("/api/sign-in", json={"name": "Nina", "secret": "1"}, environ_base=here)
    assert refused_rows(running, "192.0.2.20")[-1].startswith("Nina | sign in | refused: too many wrong tries; wait")


def test_a_command_that_its_sender_may_not_give_is_in_the_audit(running: StandIn, app: Flask) -> None:
    client = app.test_client()
    token = sign_in(client, "Vera")
    here = {"REMOTE_ADDR": "192.0.2.21"}
    client.post("/api/selftest", headers={"Origin": HERE, "X-CSRF-Token": token}, environ_base=here)
    app.test_client().post("/api/selftest", environ_base=here)
    assert refused_rows(running, "192.0.2.21") == [
        "Vera | POST /api/selftest | refused (403): this needs an operator; Vera is a viewer",
        " | POST /api/selftest | refused (401): this needs an operator; sign in, and it is done then",
    ]


def test_refused_tries_without_end_fill_no_disk_and_the_audit_says_where_it_stops(running: StandIn, app: Flask) -> None:
    for last in range(30, 60):
        here = {"REMOTE_ADDR": f"192.0.2.{last}"}
        for _ in range(refusals.ROWS_OF_ONE + 1):
            app.test_client().post("/api/selftest", environ_base=here)
    rows = [row for last in range(30, 60) for row in refused_rows(running, f"192.0.2.{last}")]
    assert len(rows) == refusals.ROWS_OF_ALL
    assert rows[refusals.ROWS_OF_ONE - 1].endswith("the next ones within 15 min get no row")
    assert rows[-1].endswith("no refused try gets a row in the next 15 min")


def test_a_quarter_of_an_hour_later_refused_tries_have_rows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(refusals.time, "monotonic", lambda: now)
    found = refusals.Refusals()
    for _ in range(refusals.ROWS_OF_ONE):
        found.said("sign in", "Vera")
    assert found.said("sign in", "Vera") is None
    now += refusals.WINDOW_S
    assert found.said("sign in", "Vera") == ""


def test_where_nobody_is_set_up_a_row_has_the_name_that_was_typed(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image())
    client.post("/api/reviews", json={"part": 1, "opinion": "bad", "who": "Anna"})
    deeds = [row.deed for row in audited(station)]
    assert [(deed.who, deed.role, deed.via) for deed in deeds] == [("Anna", "", "open")] * 2


def test_the_audit_holds_no_pin_password_code_or_token(running: StandIn, app: Flask, tokens: dict[Role, str]) -> None:
    headers = {"Authorization": f"Bearer {tokens[Role.ENGINEER]}"}
    client = app.test_client()
    client.post("/api/sign-in", json={"name": SECRETS["Erna"][1], "secret": "wrong"})
    code = client.post("/api/people", json={"name": "Neu", "role": "viewer"}, headers=headers).get_json()["code"]
    token = client.post("/api/tokens", json={"name": "neu", "role": "viewer"}, headers=headers).get_json()["token"]
    shown = json.dumps(client.get("/api/audit?limit=200", headers=headers).get_json())
    for secret in (code, token, *(secret for _, secret in SECRETS.values())):
        assert secret not in shown
    assert "Neu (viewer)" in shown


def test_on_loopback_without_people_everybody_may_do_everything_but_set_up_people(
    station: StandIn, client: FlaskClient
) -> None:
    station.says = all_commands()
    station.start()
    assert client.post("/api/selftest").status_code == 200
    assert client.get("/api/me").get_json()["role"] == "engineer"
    program = create_app(station.config).test_client()
    answer = program.post("/api/people", json={"name": "Eve", "role": "engineer"})
    assert (answer.status_code, "code" in answer.get_json()) == (403, False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.5", "station3.plant"])
def test_a_page_on_a_network_refuses_to_start_without_people(station: StandIn, host: str) -> None:
    access = Access.of(station.config)
    with pytest.raises(PeopleError, match="edge users add"):
        check_people(access, host)
    access.people.add("Erna", Role.ENGINEER)
    assert check_people(access, host) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9"])
def test_a_page_on_loopback_without_people_gives_a_code_for_the_first_engineer(station: StandIn, host: str) -> None:
    assert check_people(Access.of(station.config), host) is not None


def test_guests_may_look_where_the_station_says_so(running: StandIn) -> None:
    page = running.config.page.model_copy(update={"guests_may_look": True})
    client = create_app(running.config.model_copy(update={"page": page})).test_client()
    assert client.get("/api/status").status_code == 200
    assert client.post("/api/selftest").status_code == 401
