"""Reviewing, when something comes between: a tablet that is turned, a network that goes, a page that starts anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from edge.inference.bundle import Bundle
from edge.people.roles import Role
from edge.people.store import People
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, part_image
from tests.edge.web.test_browser import Visitor
from tests.edge.web.test_browser_people import PIN, sign_in
from tests.edge.web.test_server import page_process

SHOWN_PICTURE = """() => {
    const image = document.querySelector("#review-image");
    const { left, top, width, height } = image.getBoundingClientRect();
    const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight);
    const [wide, high] = [image.naturalWidth * scale, image.naturalHeight * scale];
    return [left + (width - wide) / 2, top + (height - high) / 2, wide, high]; }"""
MASK = """() => { const { left, top, width, height } = document.querySelector("#mask").getBoundingClientRect();
    return [left, top, width, height]; }"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A running station whose page each test serves."""
    station = StandIn(tmp_path_factory.mktemp("reviews") / "station", tiny_bundle, port=free_port())
    for index in range(6):
        station.inspect(part_image(index, defect=index % 2 == 1))
    station.start()
    yield station
    station.stop()


@pytest.fixture
def tablet(chromium: Browser, line: StandIn) -> Iterator[Visitor]:
    visitor = Visitor(chromium, line, 800, 1280)
    yield visitor
    visitor.context.close()


def draw(page: Page) -> None:
    """Mark a place of the part on show, and name its defect."""
    page.click("#draw")
    box = page.locator("#mask").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    page.fill("#label", "scratch")


def answered(page: Page) -> dict[str, object]:
    """Tap that the part is bad, and return what the station stored in the end."""
    with page.expect_response(lambda answer: answer.url.endswith("/api/reviews") and answer.ok) as stored:
        page.click("[data-opinion=bad]")
    found: dict[str, object] = stored.value.json()
    return found


def test_a_mask_lies_over_the_picture_after_the_tablet_was_turned(tablet: Visitor, line: StandIn) -> None:
    with page_process(line.config):
        page = tablet.open("/review")
        expect(page.locator("#review-image")).to_have_js_property("naturalWidth", 640)
        draw(page)
        for width, height in ((1280, 800), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(100)
            assert page.evaluate(MASK) == pytest.approx(page.evaluate(SHOWN_PICTURE), abs=4), "its outline is 3 px"
        page.fill("#who", "Anna")
        assert answered(page)["mask"] is True


@pytest.mark.parametrize(("address", "part"), [("/review", "Part "), ("/review?part=2", "Part 2:")])
def test_what_could_not_be_asked_for_comes_by_itself_once_there_is_a_network(
    tablet: Visitor, line: StandIn, address: str, part: str
) -> None:
    with page_process(line.config):
        tablet.page.route("**/api/**", lambda route: route.abort())
        page = tablet.open(address)
        expect(page.locator("#problem")).to_contain_text("no connection")
        page.unroute("**/api/**")
        expect(page.locator("#review-part")).to_contain_text(part)
        expect(page.locator("#problem")).to_be_hidden()


def test_parts_that_come_after_the_queue_was_empty_are_shown_by_themselves(tablet: Visitor, line: StandIn) -> None:
    def empty(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"parts": []})

    with page_process(line.config):
        tablet.page.route("**/api/reviews/queue*", empty)
        page = tablet.open("/review")
        expect(page.locator("#nothing")).to_be_visible()
        page.unroute("**/api/reviews/queue*")
        expect(page.locator("#review-part")).to_contain_text("Part ")
        expect(page.locator("#nothing")).to_be_hidden()


def test_an_answer_outlives_a_page_that_starts_anew(tablet: Visitor, line: StandIn) -> None:
    with page_process(line.config):
        page = tablet.open("/review")
        page.fill("#who", "Anna")
        draw(page)
    with page_process(line.config):
        stored = answered(page)
        assert (stored["label"], stored["mask"], stored["who"]) == ("scratch", True, "Anna")


@pytest.fixture
def guarded(tmp_path: Path, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A running station with an engineer and an operator."""
    station = StandIn(tmp_path / "station", tiny_bundle, port=free_port())
    station.inspect(part_image(1, defect=True))
    station.start()
    people = People(station.config.state_dir)
    people.join(people.add("Erna", Role.ENGINEER), "Erna", "correct horse", "")
    people.join(people.add("Olaf", Role.OPERATOR), "Olaf", PIN, "")
    people.close()
    yield station
    station.stop()


def marked(chromium: Browser, station: StandIn) -> Visitor:
    """Return a tablet on which Olaf has marked a part, and has not answered yet."""
    visitor = Visitor(chromium, station, 800, 1280)
    page = visitor.open("/")
    sign_in(page, "Olaf")
    expect(page.locator("#verdict-headline")).to_be_visible()
    visitor.open("/review")
    expect(page.locator("#review-part")).to_contain_text("Part 1")
    draw(page)
    return visitor


def answered_again(page: Page) -> None:
    """Answer, sign in where the page asks for it, and look at what is stored."""
    with page.expect_response(lambda answer: answer.url.endswith("/api/reviews") and answer.ok) as stored:
        page.click("[data-opinion=bad]")
        expect(page.get_by_role("dialog", name="This needs an operator")).to_be_visible()
        sign_in(page, "Olaf")
    found = stored.value.json()
    assert (found["label"], found["mask"], found["who"]) == ("scratch", True, "Olaf")


def test_a_session_that_ends_in_the_middle_of_a_review_loses_nothing(chromium: Browser, guarded: StandIn) -> None:
    with page_process(guarded.config):
        visitor = marked(chromium, guarded)
        visitor.context.clear_cookies()
        answered_again(visitor.page)
        visitor.context.close()


def test_a_page_that_starts_anew_in_the_middle_of_a_review_asks_who_it_is_and_loses_nothing(
    chromium: Browser, guarded: StandIn
) -> None:
    with page_process(guarded.config):
        visitor = marked(chromium, guarded)
    with page_process(guarded.config):
        answered_again(visitor.page)
        visitor.context.close()


def test_a_queue_that_nobody_is_signed_in_for_asks_who_is_there(chromium: Browser, guarded: StandIn) -> None:
    with page_process(guarded.config):
        visitor = marked(chromium, guarded)
        page = visitor.page
        visitor.context.clear_cookies()
        page.click("#skip")
        expect(page.get_by_role("dialog", name="Your session has ended")).to_be_visible()
        sign_in(page, "Olaf")
        expect(page.locator("#problem")).to_be_hidden()
        expect(page.locator("#nothing")).to_be_visible()
        visitor.context.close()
