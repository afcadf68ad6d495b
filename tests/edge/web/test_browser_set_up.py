"""The bundles page and the set-up page, as an engineer uses them, in a real Chromium on a served page."""

from __future__ import annotations

import os
import shutil
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
from edge.inference.bundle import Bundle, open_bundle
from edge.people.roles import Role
from edge.people.store import People
from edge.web.setup.certificate import store_certificate
from tests.edge.engine.parts import wait_for
from tests.edge.web.conftest import free_port
from tests.edge.web.standin import StandIn, all_commands, part_image
from tests.edge.web.test_browser import HANG_MS, LOW_CONTRAST, SIZES, SMALL_TARGETS, Visitor
from tests.edge.web.test_browser_people import PIN, WIDER_THAN_THE_SCREEN
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
        found += complaints(tablet, f"/{path}")
    assert found == []


def complaints(page: Page, where: str) -> list[str]:
    """Return what axe finds on what a page shows now, in light, dark and forced colours."""
    found = []
    page.evaluate(AXE_SCRIPT)
    for name, colours in COLOURS.items():
        page.emulate_media(**colours)
        rules = {} if name == "light" else {"runOnly": ["color-contrast"]}  # what colours can change
        found += [f"{where} {name} {one}" for one in page.evaluate(AXE, rules)]
    page.emulate_media(**COLOURS["light"])
    return found


@pytest.fixture(scope="module")
def german(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle
) -> Iterator[tuple[Page, StandIn]]:
    """A German tablet of an overview of two stations, where an engineer and a viewer are set up."""
    folder = tmp_path_factory.mktemp("hall")
    shutil.copytree(tiny_bundle.path, folder / "models" / "plain")
    station = StandIn(folder / "station", open_bundle(folder / "models" / "plain"), port=free_port())
    station.config = station.config.model_copy(update={"bundle_signatures": "optional"})
    other = StandIn(folder / "other", tiny_bundle, "Line 4 flanges")
    station.fill(30)
    other.inspect(part_image(defect=True))
    other.health()
    station.says = all_commands()
    station.start()
    station.show_also(other.write_toml(folder / "other.toml"))
    people = People(station.config.page_dir)
    people.join(people.add("Erna", Role.ENGINEER), "Erna", "correct horse", "")
    people.join(people.add("Vera", Role.VIEWER), "Vera", PIN, "")
    people.close()
    base = f"http://127.0.0.1:{station.config.page.port}"
    context = chromium.new_context(viewport={"width": 1024, "height": 768}, locale="de-DE", base_url=base)
    context.set_default_timeout(HANG_MS)
    with page_process(station.config):
        yield context.new_page(), station
    context.close()
    station.stop()


def signed_in(page: Page, name: str, secret: str, path: str) -> None:
    page.goto(f"/sign-in?next={path}")
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=secret]").fill(secret)
    page.locator("#sign-in-submit").click()
    page.wait_for_url(f"**{path}")


def test_axe_finds_nothing_in_german_on_the_overview_with_people_and_in_each_dialog(
    german: tuple[Page, StandIn],
) -> None:
    page, _ = german
    here = "/stations/line-3-washers"
    signed_in(page, "Vera", PIN, "/")
    expect(page.locator(".who-name")).to_contain_text("Vera")
    found = complaints(page, "overview")
    page.goto(f"{here}/", wait_until="load")
    page.wait_for_selector("#rows .row")
    found += complaints(page, "first page of a viewer")
    page.locator("#selftest").click()
    expect(page.locator("#confirm")).to_be_visible()
    found += complaints(page, "confirm")
    page.locator("#confirm-yes").click()
    expect(page.locator("dialog.sign-in form")).to_be_visible()
    found += complaints(page, "sign-in dialog")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Livebild groß zeigen").click()
    expect(page.locator("#look")).to_be_visible()
    found += complaints(page, "look")
    signed_in(page, "Erna", "correct horse", f"{here}/bundles")
    page.locator("#bundles button").first.click()
    expect(page.locator("#ask")).to_be_visible()
    found += complaints(page, "ask")
    page.goto(f"{here}/people")
    page.wait_for_selector("#audit tr")
    found += complaints(page, "people")
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
