"""The bundles page and the set-up page, as an engineer uses them, in a real Chromium on a served page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect

from edge.core.types import Verdict
from edge.exchange.bundle_desk import (
    UPLOAD,
    Act,
    Difference,
    Report,
    Stage,
    Wish,
    leave_wish,
    take_wish,
    wish_waits,
    write_outcome,
)
from edge.exchange.health import State
from edge.inference.bundle import Bundle
from edge.web.setup.certificate import store_certificate
from tests.edge.engine.parts import wait_for
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn
from tests.edge.web.test_browser import HANG_MS, LOW_CONTRAST, SIZES, SMALL_TARGETS, Visitor
from tests.edge.web.test_browser_people import WIDER_THAN_THE_SCREEN
from tests.edge.web.test_server import page_process
from tests.edge.web.test_set_up import BADS, GOODS, proven

expect.set_options(timeout=HANG_MS)
NOW = datetime(2026, 1, 1, 6, tzinfo=UTC)
REPORT = Report(
    id="0" * 16, act=Act.SHADOW, who="Anna", bundle="a_bundle_with_a_long_name-20261127.065321-0123456789ab", since=NOW,
    written_at=NOW, stage=Stage.DONE, wanted=50, tried=50, lines=["50 stored parts, 49 with the same verdict"],
    differences=[
        Difference(part=2, before=Verdict.OK, now=Verdict.NG, distance_before=0.9, distance_now=1.1),
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A served station that an engineer sets up."""
    station = StandIn(tmp_path_factory.mktemp("set-up") / "station", tiny_bundle, port=free_port())
    station.fill(3)
    proven(station)
    write_outcome(station.config.run_dir, REPORT)
    station.start(State.COMMISSIONING)
    with page_process(station.config):
        yield station
    station.stop()


@pytest.fixture(scope="module")
def tablet(chromium: Browser, served: StandIn) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1024, "height": 768})
    context.set_default_timeout(HANG_MS)
    yield context.new_page()
    context.close()


def test_both_pages_fit_every_screen_with_large_targets_and_enough_contrast(tablet: Page, served: StandIn) -> None:
    for path, told in (("bundles", "What it promises"), ("set-up", "best so far")):
        tablet.goto(f"http://127.0.0.1:{served.config.page.port}/{path}")
        expect(tablet.locator("main")).to_contain_text(told)
        for width, height in SIZES:
            tablet.set_viewport_size({"width": width, "height": height})
            assert tablet.evaluate(SMALL_TARGETS) == []
            assert tablet.evaluate(LOW_CONTRAST) == []
            assert tablet.evaluate(WIDER_THAN_THE_SCREEN) <= 0


# Each page, and what is there once its script has filled it.
PAGES = {
    "": "#rows .row", "wall": "#live-image", "history": "#rows .row", "inspections/2": "table", "shift": "#report",
    "service": "#chart-latency", "review": "#label", "limit": "#which", "bundles": "#difference-rows tr",
    "set-up": "#picture", "people": "#audit", "sign-in": "form", "inspections/99": "main",
}  # fmt: skip
COLOURS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "dark", "forced_colors": "active"},
}
AXE = """async rules => (await axe.run(document, { resultTypes: ["violations"], ...rules })).violations
    .flatMap(one => one.nodes.map(node => `${one.id}: ${node.html.slice(0, 100)}`))"""


def test_axe_finds_nothing_on_any_page_in_light_dark_and_forced_colours(tablet: Page, served: StandIn) -> None:
    found = []
    for path, filled in PAGES.items():
        tablet.goto(f"http://127.0.0.1:{served.config.page.port}/{path}")
        tablet.wait_for_selector(filled, state="attached")
        tablet.evaluate(AXE_SCRIPT)
        for name, colours in COLOURS.items():
            tablet.emulate_media(**colours)
            rules = {} if name == "light" else {"runOnly": ["color-contrast"]}  # what colours can change
            found += [f"/{path} {name} {one}" for one in tablet.evaluate(AXE, rules)]
    tablet.emulate_media(**COLOURS["light"])
    assert found == []


PRINTED = """() => [...document.querySelectorAll("body *")].filter(node => node.checkVisibility()
    && [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()))
    .map(node => node.textContent.trim())"""


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_certificate_is_printed_alone_in_each_language_and_dark_on_white(
    chromium: Browser, station: StandIn, language: str
) -> None:
    station.config.page_dir.mkdir(parents=True)
    store_certificate(station.config, proven(station), "Anna", GOODS, BADS)
    station.start(State.COMMISSIONING)
    with page_process(station.config):
        visitor = Visitor(chromium, station, dark=True)
        visitor.context.add_cookies([{"name": "linewatch_language", "value": language, "url": visitor.url}])
        page = visitor.open("/set-up")
        expect(page.locator("#certificate")).to_contain_text("Anna")
        page.emulate_media(media="print", color_scheme="dark")
        title = {"en": "Certificate", "de": "Bescheinigung"}[language]
        facts = page.locator("#certificate :is(dt, dd)").all_inner_texts()
        assert page.evaluate(PRINTED) == [title, *facts]
        assert page.evaluate("getComputedStyle(document.querySelector('#certificate dd')).color") == "rgb(0, 0, 0)"
        visitor.context.close()


def test_a_shift_is_printed_dark_on_white_without_what_only_a_screen_needs(chromium: Browser, served: StandIn) -> None:
    visitor = Visitor(chromium, served, dark=True)
    page = visitor.open("/shift")
    page.emulate_media(media="print", color_scheme="dark")
    for screen_only in (".top", ".foot", "#order-form", "#print"):
        expect(page.locator(screen_only)).to_be_hidden()
    expect(page.locator("#report .only-print")).to_be_visible()
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate("getComputedStyle(document.querySelector('#report .card')).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    visitor.context.close()


def test_a_chosen_file_arrives_in_pieces_and_is_wished_to_be_checked(tablet: Page, served: StandIn) -> None:
    data = os.urandom(5 * 1024 * 1024)
    tablet.goto(f"http://127.0.0.1:{served.config.page.port}/bundles")
    tablet.locator("#file").set_input_files({"name": "new.lwb", "mimeType": "application/octet-stream", "buffer": data})
    wait_for(lambda: wish_waits(served.config.state_dir))
    wish = take_wish(served.config.state_dir)
    assert wish is not None
    assert wish.act is Act.CHECK
    assert (served.config.state_dir / UPLOAD).read_bytes() == data


def test_the_first_wish_can_be_stopped_while_nobody_has_taken_it(chromium: Browser, station: StandIn) -> None:
    station.health()
    with page_process(station.config):
        visitor = Visitor(chromium, station)
        station.config.page_dir.mkdir(parents=True, exist_ok=True)
        leave_wish(station.config.page_dir, Wish(id="0" * 16, act=Act.CHECK, who="Anna"))
        page = visitor.open("/bundles")
        expect(page.locator("#work-what")).to_have_text("A wish waits to be taken")
        expect(page.locator("#work-stage")).to_have_text("waits")
        page.click("#stop")
        expect(page.locator("#upload-answer")).to_have_text("The wish was taken back.")
        assert not wish_waits(station.config.page_dir)
        visitor.context.close()


def test_a_region_is_dragged_on_the_picture(tablet: Page, served: StandIn) -> None:
    tablet.set_viewport_size({"width": 1024, "height": 768})
    tablet.goto(f"http://127.0.0.1:{served.config.page.port}/set-up")
    view = tablet.locator("#view")
    expect(tablet.locator("#picture")).to_be_visible()
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    assert box is not None
    tablet.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    tablet.mouse.down()
    tablet.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=3)
    tablet.mouse.up()
    expect(tablet.locator("#region-line")).to_contain_text("crop = { x = 1")
    tablet.locator("#who").fill("Anna")
    tablet.locator("#store-region").click()
    expect(tablet.locator("#answer")).to_contain_text("is stored")
