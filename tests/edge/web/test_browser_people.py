"""Signing in, as a person with gloves does it, in a real Chromium on a served page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from edge.inference.bundle import Bundle
from edge.people.roles import Role
from edge.people.store import People
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, all_commands
from tests.edge.web.test_browser import (
    CROWDED,
    HANG_MS,
    LOW_CONTRAST,
    SIZES,
    SMALL_TARGETS,
)
from tests.edge.web.test_server import page_process

PIN = "271828"
expect.set_options(timeout=HANG_MS)
# What lies over the thing before it in the header.
OVERLAPPING = """() => { const boxes = [...document.querySelectorAll(".brand img, #waiting, .who > *, #chip .badge")]
    .map(node => [node.outerHTML.slice(0, 60), node.getBoundingClientRect()]).filter(([, box]) => box.width)
    .sort(([, a], [, b]) => a.left - b.left);
    return boxes.slice(1).filter(([, box], before) => box.left < boxes[before][1].right)
        .map(([html, box]) => `${html} ${box.left} to ${box.right}`); }"""
WIDER_THAN_THE_SCREEN = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A served station with a viewer, two operators and an engineer."""
    station = StandIn(tmp_path_factory.mktemp("guarded") / "station", tiny_bundle, port=free_port())
    station.fill(5)
    station.says = all_commands()
    station.start()
    people = People(station.config.state_dir)
    people.join(people.add("Erna", Role.ENGINEER), "Erna", "correct horse", "")
    for name, role in (("Vera", Role.VIEWER), ("Olaf", Role.OPERATOR), ("Jörg Müller", Role.OPERATOR)):
        people.join(people.add(name, role), name, PIN, "")
    people.close()
    with page_process(station.config):
        yield station
    station.stop()


@pytest.fixture
def tablet(chromium: Browser, guarded: StandIn) -> Iterator[Page]:
    """A tablet that nobody has signed in on, at the station's address."""
    context = chromium.new_context(viewport={"width": 1024, "height": 768})
    context.set_default_timeout(HANG_MS)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{guarded.config.page.port}/")
    yield page
    context.close()


def tap_pin(page: Page, pin: str) -> None:
    for digit in pin:
        page.get_by_role("button", name=f"Digit {digit}").click()


def sign_in(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    tap_pin(page, PIN)
    page.click("#sign-in-submit")


def test_a_person_signs_in_with_taps_alone_and_comes_where_they_wanted(tablet: Page, guarded: StandIn) -> None:
    address = f"http://127.0.0.1:{guarded.config.page.port}/history"
    tablet.goto(address)
    sign_in(tablet, "Jörg Müller")
    expect(tablet.get_by_role("heading", name="History", exact=True)).to_be_visible()
    expect(tablet).to_have_url(re.compile(rf"{re.escape(address)}\?from=[^&]+&to=[^&]+"))  # its script adds the span


def test_a_wrong_pin_is_told_and_the_name_stays(tablet: Page) -> None:
    tablet.get_by_role("button", name="Olaf").click()
    tap_pin(tablet, "314150")
    tablet.get_by_role("button", name="Sign in", exact=True).click()
    expect(tablet.get_by_role("alert")).to_contain_text("wrong")
    expect(tablet.get_by_label("Name")).to_have_value("Olaf")
    tap_pin(tablet, PIN)
    tablet.get_by_role("button", name="Sign in", exact=True).click()
    expect(tablet.locator(".who-name")).to_contain_text("operator")


def test_a_session_that_ends_in_the_middle_of_a_choice_loses_nothing(tablet: Page) -> None:
    sign_in(tablet, "Olaf")
    expect(tablet.get_by_label("Recipe").locator("option").first).to_have_text("default (in use)")
    tablet.get_by_label("Recipe").select_option("washer")
    tablet.context.clear_cookies()
    expect(tablet.get_by_role("dialog", name="Your session has ended")).to_be_visible()
    sign_in(tablet, "Olaf")
    expect(tablet.get_by_label("Recipe")).to_have_value("washer")
    tablet.get_by_role("button", name="Switch").click()
    tablet.get_by_role("button", name="Yes, switch").click()
    expect(tablet.locator("#command-answer")).to_contain_text("“washer” is in use")


def test_who_does_not_want_to_sign_in_now_is_left_alone_and_told_what_is_missing(tablet: Page) -> None:
    sign_in(tablet, "Olaf")
    expect(tablet.locator("#verdict-headline")).to_be_visible()
    tablet.context.clear_cookies()
    dialog = tablet.get_by_role("dialog", name="Your session has ended")
    expect(dialog).to_be_visible()
    expect(tablet.locator("#verdict-headline")).to_have_text("SIGN IN")
    tablet.get_by_role("button", name="Not now").click()
    for _ in range(3):
        with tablet.expect_response("**/api/status*"):
            pass
    expect(dialog).to_have_count(0)
    expect(tablet.locator("#verdict-headline")).to_have_text("SIGN IN")
    expect(tablet.locator("#live-note")).to_have_text("Not live: the last picture")
    expect(tablet.locator("#sign-out")).to_be_hidden()
    for place in ("#verdict-headline", "#chip .badge span"):  # in German, which has a longer word for it
        tablet.locator(place).evaluate("node => { node.textContent = 'ANMELDEN'; }")
    for width, height in [*SIZES, (800, 1280)]:
        tablet.set_viewport_size({"width": width, "height": height})
        checked(tablet)
        assert tablet.evaluate(CROWDED) == [], width
        for place in ("#chip .badge", "#verdict .verdict-word"):
            assert tablet.locator(place).evaluate("node => node.scrollWidth - node.clientWidth") <= 0, (place, width)
    tablet.locator("#alarm").get_by_role("button", name="Sign in").click()
    sign_in(tablet, "Olaf")
    expect(tablet.locator("#alarm")).to_be_hidden()
    expect(tablet.locator("#verdict-headline")).not_to_have_text("SIGN IN")


def test_an_operator_acts_on_a_viewers_tablet_and_leaves_it_the_viewers(tablet: Page) -> None:
    sign_in(tablet, "Vera")
    expect(tablet.locator(".who-name")).to_contain_text("Vera")
    tablet.wait_for_load_state("load")  # a tap counts once the page's scripts are there
    tablet.get_by_role("button", name="Self-test").click()
    tablet.get_by_role("button", name="Yes, test").click()
    expect(tablet.get_by_role("dialog", name="This needs an operator")).to_be_visible()
    sign_in(tablet, "Olaf")
    expect(tablet.locator("#selftest-answer")).to_contain_text("passed")
    expect(tablet.locator(".who-name")).to_contain_text("Olaf")
    tablet.get_by_role("button", name="Sign out").click()
    expect(tablet.locator(".who-name")).to_contain_text("Vera")
    expect(tablet.locator("#verdict-headline")).to_be_visible()


def test_an_engineer_sets_up_a_person_who_chooses_a_pin_with_the_code(tablet: Page, guarded: StandIn) -> None:
    tablet.get_by_label("Name").fill("Erna")
    tablet.get_by_label("PIN or password").fill("correct horse")
    tablet.get_by_role("button", name="Sign in", exact=True).click()
    tablet.get_by_role("link", name="who may do what").click()
    tablet.get_by_label("Name").fill("Neu")
    tablet.locator("#add select").select_option("operator")
    tablet.get_by_role("button", name="Set up").click()
    code = tablet.locator("#said code").inner_text()
    expect(tablet.locator("#audit tr").first).to_contain_text("Neu (operator)")
    tablet.get_by_role("button", name="Sign out").click()
    tablet.get_by_role("button", name="I have a code").click()
    tablet.get_by_label("Name").fill("Neu")
    tablet.get_by_label("Code").fill(code.lower())
    tap_pin(tablet, "161803")
    tablet.get_by_role("button", name="Set it and sign in").click()
    expect(tablet.locator(".who-name")).to_contain_text("Neu")


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_header_holds_who_is_signed_in_beside_all_that_waits(tablet: Page, guarded: StandIn, language: str) -> None:
    def aged(route: Route) -> None:
        asked = {name: value for name, value in route.request.headers.items() if name != "if-none-match"}
        response = route.fetch(headers=asked)
        text = re.sub(r'"unseen":\d+', '"unseen":1000', response.text()).replace('"more":false', '"more":true')
        route.fulfill(response=response, body=text)

    tablet.context.add_cookies([{"name": "linewatch_language", "value": language, "url": tablet.url}])
    tablet.reload()
    guarded.says = all_commands() | {"quality_fault": "out of focus"}
    tablet.get_by_role("button", name="Jörg Müller").click()
    tablet.locator("#person-secret").fill(PIN)
    tablet.click("#sign-in-submit")
    expect(tablet.locator("#chip .badge")).to_have_attribute("data-kind", "camera")
    tablet.route("**/api/status*", aged)
    expect(tablet.locator("#waiting")).to_contain_text(re.compile(r"1[.,]000 o"))
    for word in {"en": ("CAMERA FAULT", "STARTING"), "de": ("KAMERA PRÜFEN", "STARTET")}[language]:
        tablet.locator("#chip .badge span").evaluate("(node, word) => { node.textContent = word; }", word)
        for across in (1280, 1024, 800, 390):
            tablet.set_viewport_size({"width": across, "height": 1280})
            assert tablet.evaluate(CROWDED) == [], across
            assert tablet.evaluate(OVERLAPPING) == [], across
            assert tablet.evaluate(WIDER_THAN_THE_SCREEN) <= 0, across
            assert tablet.locator("#chip .badge").evaluate("node => node.scrollWidth - node.clientWidth") <= 0, word
    tablet.unroute_all(behavior="ignoreErrors")
    guarded.says = all_commands()


@pytest.mark.parametrize("path", ["/history", "/review", "/limit", "/inspections/1"])
def test_every_page_shows_who_is_signed_in_and_lets_them_out(tablet: Page, guarded: StandIn, path: str) -> None:
    sign_in(tablet, "Olaf")
    expect(tablet.locator(".who-name")).to_contain_text("Olaf")
    tablet.goto(f"http://127.0.0.1:{guarded.config.page.port}{path}")
    tablet.wait_for_load_state("load")
    expect(tablet.locator(".who-name")).to_contain_text("operator")
    tablet.get_by_role("button", name="Sign out").click()
    expect(tablet.get_by_role("button", name="Jörg Müller")).to_be_visible()


def test_a_guest_who_signs_in_for_a_command_is_shown_with_the_way_out(chromium: Browser, guarded: StandIn) -> None:
    page = guarded.config.page.model_copy(update={"guests_may_look": True, "port": free_port()})
    context = chromium.new_context(viewport={"width": 1024, "height": 768})
    with page_process(guarded.config.model_copy(update={"page": page})):
        guest = context.new_page()
        guest.goto(f"http://127.0.0.1:{page.port}/", wait_until="load")
        expect(guest.get_by_role("link", name="Sign in")).to_be_visible()
        guest.get_by_role("button", name="Self-test").click()
        guest.get_by_role("button", name="Yes, test").click()
        sign_in(guest, "Olaf")
        expect(guest.locator(".who-name")).to_contain_text("Olaf")
        expect(guest.get_by_role("link", name="Sign in")).to_have_count(0)
        guest.get_by_role("button", name="Sign out").click()
        expect(guest.get_by_role("link", name="Sign in")).to_be_visible()
    context.close()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_and_people_are_made_for_gloves_at_every_size(
    tablet: Page, guarded: StandIn, width: int, height: int, scheme: str
) -> None:
    tablet.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    tablet.set_viewport_size({"width": width, "height": height})
    expect(tablet.get_by_role("button", name="Olaf")).to_be_visible()
    checked(tablet)
    tablet.get_by_label("Name").fill("Erna")
    tablet.get_by_label("PIN or password").fill("correct horse")
    tablet.get_by_role("button", name="Sign in", exact=True).click()
    expect(tablet.locator("#verdict-headline")).to_be_visible()
    checked(tablet)
    tablet.goto(f"http://127.0.0.1:{guarded.config.page.port}/people")
    expect(tablet.locator("#people")).to_contain_text("Vera")
    checked(tablet)


def checked(page: Page) -> None:
    page.wait_for_load_state("load")
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate(WIDER_THAN_THE_SCREEN) <= 0
