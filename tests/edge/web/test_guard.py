from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge.web.guard import host_allowed
from edge.web.server import create_app
from tests.edge.web.standin import StandIn, encoded, part_image
from tests.tiny import good_image

TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')
HERE = "http://localhost"


@pytest.fixture
def running(station: StandIn) -> StandIn:
    station.start()
    return station


def upload(client: FlaskClient, **headers: str) -> TestResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    data = {"image": (BytesIO(encoded(good_image(), ".png")), "part.png")}
    return client.post("/api/inspect", data=data, headers=names)


def token_of(client: FlaskClient) -> str:
    found = TOKEN.search(client.get("/").text)
    assert found
    return found[1]


def test_a_program_without_origin_or_cookie_may_post(running: StandIn, client: FlaskClient) -> None:
    assert upload(client).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "https://localhost"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_a_post_from_elsewhere_is_refused_even_with_the_token(
    running: StandIn, client: FlaskClient, headers: dict[str, str]
) -> None:
    response = upload(client, X_CSRF_Token=token_of(client), **headers)
    assert response.status_code == 403
    assert "another" in response.get_json()["error"]


@pytest.mark.parametrize("headers", [{"Origin": HERE}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}])
def test_a_browser_needs_the_pages_token(running: StandIn, client: FlaskClient, headers: dict[str, str]) -> None:
    assert upload(client, **headers).status_code == 403
    assert upload(client, X_CSRF_Token="w" * 43, **headers).status_code == 403
    assert upload(client, X_CSRF_Token=token_of(client), **headers).status_code == 200


def test_our_cookie_alone_does_not_make_a_post_good(running: StandIn, client: FlaskClient) -> None:
    token_of(client)
    assert upload(client).status_code == 403


def test_the_token_may_also_come_as_a_form_field(running: StandIn, client: FlaskClient) -> None:
    data = {"csrf_token": token_of(client), "image": (BytesIO(encoded(good_image(), ".png")), "part.png")}
    assert client.post("/api/inspect", data=data, headers={"Origin": HERE}).status_code == 200


def test_a_token_of_another_browser_or_process_is_refused(running: StandIn, client: FlaskClient) -> None:
    other = create_app(running.config).test_client()
    assert upload(client, Origin=HERE, X_CSRF_Token=token_of(other)).status_code == 403


def test_the_cookie_is_strict_and_out_of_reach_of_scripts(client: FlaskClient) -> None:
    cookie = client.get("/").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:8080", "127.9.9.9", "[::1]", "[::1]:8080"]
)
def test_this_computers_own_names_are_served(client: FlaskClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "192.168.1.9",
        "127.0.0.1.nip.io",
        "[::",
        "a b",
        "@",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/static/page.css", "/live.jpg", "/metrics"])
def test_a_rebound_name_sees_nothing(client: FlaskClient, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert response.status_code in {400, 421}
    assert "Line 3" not in response.text


def test_a_page_on_every_address_is_reached_by_address_but_not_by_a_foreign_name() -> None:
    assert host_allowed("192.168.1.9:8080", "0.0.0.0")
    assert host_allowed("[fe80::1]:8080", "::")
    assert not host_allowed("evil.example", "0.0.0.0")
    assert host_allowed("station3.plant:8080", "Station3.plant")


@pytest.mark.parametrize("path", ["/", "/inspections/1", "/api/status", "/nothing", "/static/page.css", "/live.jpg"])
def test_every_answer_carries_the_strict_policy(station: StandIn, client: FlaskClient, path: str) -> None:
    station.inspect(part_image())
    with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", ["/", "/inspections/1", "/nothing"])
def test_pages_have_no_inline_script_or_style(station: StandIn, client: FlaskClient, path: str) -> None:
    station.inspect(part_image(defect=True))
    html = client.get(path).text
    assert not re.search(r"<[^>]+\son\w+\s*=", html)
    assert not re.search(r"<[^>]+\sstyle\s*=", html)
    assert "<style" not in html
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    assert "http://" not in html
    assert "https://" not in html


def test_scripts_write_text_never_markup() -> None:
    folder = Path(create_app.__code__.co_filename).parent / "static"
    for script in folder.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script.read_text()), (
            script
        )


def test_names_with_markup_are_shown_as_text(station: StandIn) -> None:
    name = "<script>alert(1)</script>\"'"
    station.config = station.config.model_copy(update={"name": name})
    station.inspect(part_image(defect=True))
    health = station.health().model_copy(update={"bundle": name, "camera": name, "detail": name})
    (station.config.run_dir / "health.json").write_text(health.model_dump_json())
    client = create_app(station.config).test_client()
    for path in ("/", "/inspections/1"):
        html = client.get(path).text
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;" in html


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_other_methods_are_refused(client: FlaskClient, method: str) -> None:
    response = client.open("/api/status", method=method)
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize("host", [".", "..", "a b", "[", "a..b", "-", "\x7f"])
def test_a_host_that_is_no_name_is_refused_in_words(client: FlaskClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert 400 <= answer.status_code < 500
    assert answer.text
    assert "Traceback" not in answer.text
