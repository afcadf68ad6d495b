"""Looking closely: a picture in full beside a good one, neighbours inside the filter, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect

from edge.core.types import Image
from edge.inference.bundle import Bundle
from tests.edge.web.conftest import CHROMIUM, free_port
from tests.edge.web.standin import StandIn, part_image
from tests.edge.web.test_browser import LOW_CONTRAST, SMALL_TARGETS, Visitor
from tests.edge.web.test_server import page_process

needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed")
SIZES = [(1280, 800), (390, 844)]


def moved(image: Image, pixels: int) -> Image:
    return np.roll(image, pixels, axis=1)


def test_older_and_newer_stay_inside_the_filter(station: StandIn, client: FlaskClient) -> None:
    for index in range(7):
        station.inspect(part_image(index, defect=index in {1, 4, 6}))
    page = client.get("/inspections/5?verdict=NG").text
    assert 'rel="prev" href="/inspections/2?verdict=NG"' in page
    assert 'rel="next" href="/inspections/7?verdict=NG"' in page
    assert 'rel="next"' not in client.get("/inspections/7?verdict=NG").text
    assert 'rel="next" href="/inspections/6"' in client.get("/inspections/5").text
    assert client.get("/inspections/5?verdict=PERHAPS").status_code == 400


def test_a_part_is_compared_with_the_good_part_that_looks_most_like_it(station: StandIn, client: FlaskClient) -> None:
    station.inspect(moved(part_image(1), 60))
    station.inspect(part_image(1))
    station.inspect(moved(part_image(1), -60))
    station.inspect(moved(part_image(1, defect=True), 60))
    station.health()
    found = client.get("/api/inspections/4/reference").get_json()
    assert (found["part"], found["address"]) == (1, "/pictures/1/frame")
    with client.get(found["address"]) as picture:
        assert picture.data.startswith(b"\xff\xd8")


def test_without_a_stored_good_part_it_is_a_reference_of_the_bundle(station: StandIn, client: FlaskClient) -> None:
    station.inspect(part_image(1, defect=True))
    assert client.get("/api/inspections/1/reference").get_json()["address"] is None
    station.health()
    found = client.get("/api/inspections/1/reference").get_json()
    assert found["part"] is None
    with client.get(found["address"]) as picture:
        assert picture.data == station.bundle.file("references/good.png").read_bytes()
    for place in ("1", "2", "9999"):
        assert client.get(f"{found['address'].rpartition('/')[0]}/{place}").status_code == 404
    assert client.get("/references/0123456789ab/0").status_code == 404
    assert client.get("/api/inspections/2/reference").status_code == 404


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A running station with many parts; each fourth one is bad. The tests of this file share it."""
    station = StandIn(tmp_path_factory.mktemp("look") / "station", tiny_bundle, port=free_port())
    pictures = [part_image(seed, defect=seed == 3) for seed in range(4)]
    for index in range(44):
        station.inspect(pictures[index % 4])
    station.start()
    with page_process(station.config):
        yield station
    station.stop()


def transform(page: Page, picture: str) -> str:
    return str(page.evaluate("id => document.getElementById(id).style.transform", picture))


@needs_chromium
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_tap_shows_the_part_in_full_beside_a_good_one_under_the_same_crop(
    chromium: Browser, line: StandIn, width: int, height: int
) -> None:
    visitor = Visitor(chromium, line, width, height)
    page = visitor.open("/inspections/44")
    page.click(".look-open")
    expect(page.locator("#look-words")).to_contain_text("the most alike")
    expect(page.locator("#look-reference")).to_have_js_property("naturalWidth", 640)
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    box = page.locator(".look-view").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.wheel(0, -400)
    assert transform(page, "look-picture") == transform(page, "look-reference")
    assert transform(page, "look-picture").startswith("scale(2.7")
    before = transform(page, "look-picture")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert transform(page, "look-picture") != before
    page.click("#look-whole")
    assert transform(page, "look-picture") == "scale(1) translate(0%, 0%)"
    page.keyboard.press("Escape")
    expect(page.locator("#look")).to_be_hidden()
    assert visitor.complaints == []
    visitor.context.close()


@needs_chromium
def test_two_fingers_zoom_and_a_finger_that_rests_shows_the_plain_picture(chromium: Browser, line: StandIn) -> None:
    visitor = Visitor(chromium, line)
    page = visitor.open("/inspections/44")
    page.click(".look-open")
    picture = page.locator("#look-picture")
    expect(picture).to_have_attribute("src", "/pictures/44/heat")
    box = page.locator(".look-view").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    expect(picture).to_have_attribute("src", "/pictures/44/frame")
    page.mouse.up()
    expect(picture).to_have_attribute("src", "/pictures/44/heat")
    touch = visitor.context.new_cdp_session(page)
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    for kind, wide in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80)):
        points = [{"x": middle["x"] + side * wide, "y": middle["y"], "id": side + 2} for side in (-1, 1)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert transform(page, "look-picture").startswith("scale(2) ")
    assert transform(page, "look-picture") == transform(page, "look-reference")
    assert visitor.complaints == []
    visitor.context.close()


@needs_chromium
def test_arrows_stay_inside_the_filter_and_back_leads_to_the_place_in_the_list(
    chromium: Browser, line: StandIn
) -> None:
    visitor = Visitor(chromium, line, 390, 844)
    page = visitor.open("/history?verdict=OK")
    rows = page.locator("#rows .row")
    expect(rows).to_have_count(24)
    page.click("#more")
    expect(rows).to_have_count(33)
    opened = rows.nth(26).get_attribute("href") or ""
    rows.nth(26).click()
    page.wait_for_url("**/inspections/*")
    number = int(opened.split("/")[2].partition("?")[0])
    page.click(".look-open")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        number -= 2 if (number - 1) % 4 == 0 else 1
        page.wait_for_url(f"**/inspections/{number}?*verdict=OK*")
        expect(page.locator("#look")).to_be_visible()
        expect(page.locator("#look-title")).to_have_text(f"Part {number} OK")
    page.keyboard.press("Escape")
    page.go_back()
    page.wait_for_url("**/history?*verdict=OK*")
    expect(rows).to_have_count(33)
    expect(rows.nth(26)).to_be_in_viewport()
    expect(rows.nth(26)).to_have_attribute("href", opened)
    rows.nth(26).click()
    page.wait_for_url("**/inspections/*")
    page.click("#back")
    expect(rows.nth(26)).to_be_in_viewport()
    assert visitor.complaints == []
    visitor.context.close()


@needs_chromium
def test_back_leads_to_the_page_from_which_the_part_was_opened(chromium: Browser, line: StandIn) -> None:
    visitor = Visitor(chromium, line)
    page = visitor.open("/history?verdict=OK")
    page.locator("#rows .row").first.click()
    page.wait_for_url("**/inspections/*")
    page.goto(f"{visitor.url}/")
    page.click("#held .onward")
    page.wait_for_url("**/inspections/*")
    page.click("#back")
    page.wait_for_url(f"{visitor.url}/")
    assert visitor.complaints == []
    visitor.context.close()


@needs_chromium
def test_older_and_newer_lead_through_the_strip_of_rejects_and_back_from_the_live_picture(
    chromium: Browser, line: StandIn
) -> None:
    visitor = Visitor(chromium, line)
    page = visitor.settled()
    title = page.locator("#look-title")
    numbers = [text.split()[0] for text in page.locator("#strip .reject").all_inner_texts()]
    page.locator("#strip .reject").first.click()
    expect(page.locator("#look-newer")).to_be_hidden()
    page.click("#look-older")
    expect(title).to_have_text(f"Part {numbers[1]} NG")
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text(f"Part {numbers[2]} NG")
    page.keyboard.press("ArrowRight")
    expect(title).to_have_text(f"Part {numbers[1]} NG")
    page.keyboard.press("Escape")
    live = int(page.locator("#verdict-which").inner_text().split()[1])
    page.click("#live-picture .look-open")
    expect(title).to_contain_text(f"Part {live} ")
    page.keyboard.press("ArrowLeft")
    expect(title).to_contain_text(f"Part {live - 1} ")
    assert visitor.complaints == []
    visitor.context.close()


@needs_chromium
def test_the_live_picture_that_was_tapped_stays_while_the_line_goes_on(chromium: Browser, line: StandIn) -> None:
    visitor = Visitor(chromium, line)
    page = visitor.settled()
    before = page.locator("#verdict-which").inner_text()
    part = before.split()[1]
    page.click("#live-picture .look-open")
    expect(page.locator("#look-title")).to_contain_text(f"Part {part} ")
    line.inspect(part_image(5))
    expect(page.locator("#verdict-which")).not_to_have_text(before)
    expect(page.locator("#look-title")).to_contain_text(f"Part {part} ")
    expect(page.locator("#look-picture")).to_have_js_property("naturalWidth", 640)
    assert visitor.complaints == []
    visitor.context.close()
