"""The page in a real Chromium, as a technician sees it, at the three sizes that it is made for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from edge.core.types import Reason, Verdict
from edge.exchange.live import named, write_live
from edge.history.eventlog import EventLog
from edge.inference.bundle import Bundle
from tests.edge.web.conftest import CHROMIUM, free_port
from tests.edge.web.standin import StandIn, all_commands, all_troubles, encoded, part_image
from tests.edge.web.test_server import page_process

STICKING_OUT = """[...document.querySelectorAll(".tile-name, .tile-value")]
    .filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)"""
SIZES = [(1280, 800), (1024, 768), (390, 844)]
HANG_MS = 30_000

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed: apt install chromium")

SMALL_TARGETS = """() => [...document.querySelectorAll('a, button, label.button, select, input, summary')]
    .filter(node => node.offsetParent !== null && !node.matches('.skip, .file'))
    .map(node => [node.outerHTML.slice(0, 80), node.getBoundingClientRect()])
    .filter(([, box]) => box.width < 44 || box.height < 44)
    .map(([html, box]) => `${box.width}x${box.height} ${html}`)"""

LOW_CONTRAST = """() => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126*r + 0.7152*g + 0.0722*b; };
    const ground = node => { for (let at = node; at; at = at.parentElement) {
        const rgb = channels(getComputedStyle(at).backgroundColor); if ((rgb[3] ?? 1) > 0.8) return rgb; }
        return [255, 255, 255]; };
    const found = [];
    for (const node of document.querySelectorAll('body *')) {
        const words = [...node.childNodes].filter(child => child.nodeType === 3 && child.textContent.trim());
        if (!words.length || node.closest('svg, .unseen')) continue;
        if (!node.checkVisibility({ visibilityProperty: true })) continue;
        const [a, b] = [light(channels(getComputedStyle(node).color)), light(ground(node))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${node.outerHTML.slice(0, 80)}`);
    }
    return found; }"""

COUNT_TONES = """() => { window.tones = 0; const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (at) { window.tones += 1; return start.call(this, at); }; }"""

# An alarm that comes ("no connection" on a busy computer) moves all below it, and so does one that goes: what shifts
# within two seconds of that is not counted.
COUNT_SHIFTS = """() => { window.shifted = 0; const alarms = [];
    new MutationObserver(list => { if (list.some(one => one.target.id === "alarm")) alarms.push(performance.now()); })
      .observe(document, { attributeFilter: ["hidden"], subtree: true });
    const alarmed = at => alarms.some(alarm => at >= alarm && at < alarm + 2000);
    new PerformanceObserver(list => { for (const entry of list.getEntries())
      if (!entry.hadRecentInput && !alarmed(entry.startTime)) window.shifted += entry.value;
    }).observe({ type: 'layout-shift', buffered: true }); }"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[StandIn]:
    """A station with thirty parts behind it, whose page is served; the tests of this file share it."""
    station = StandIn(tmp_path_factory.mktemp("line") / "station", tiny_bundle, port=free_port())
    station.fill(30)
    with page_process(station.config):
        yield station
    station.stop()


class Visitor:
    """One tab of the browser; it remembers every complaint."""

    def __init__(self, browser: Browser, station: StandIn, width: int = 1280, height: int = 800, dark: bool = False):
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(HANG_MS)
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self._heard("error", str(error)))
        self.url = f"http://127.0.0.1:{station.config.page.port}"
        self.page.add_init_script(f"({COUNT_SHIFTS})()")

    def _heard(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def open(self, path: str = "/") -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def settled(self) -> Page:
        """Open the first page and wait until its script has filled everything."""
        page = self.open()
        page.wait_for_selector("#live-image:not([hidden])")
        page.wait_for_selector("#rows .row")
        page.wait_for_selector("#chart-score .mark")
        return page


# Of the header, beside the count of rejects that nobody has seen: what lies outside of the screen, words of the way
# to a part of the page that take two lines, and a station without its sign.
CROWDED = """() => [
    ...document.querySelectorAll(".brand img, .tabs a, #waiting, .who .button, #chip .badge"),
].filter(node => node.checkVisibility()).filter(node => {
    const { left, right, width } = node.getBoundingClientRect();
    const span = node.querySelector("span");
    const tall = span ? span.getBoundingClientRect().height / parseFloat(getComputedStyle(span).fontSize) : 1;
    return left < 0 || right > innerWidth || width < 36 || (node.matches(".tabs a") && tall > 2);
}).map(node => node.outerHTML.slice(0, 80))"""

# Words of the lists that lie outside of what shows them.
CUT = """() => [...document.querySelectorAll(".held, .held *, .strip *, .rows *")].filter(node =>
    node.textContent.trim() && getComputedStyle(node).overflow !== "visible"
    && (node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1)
    || node.closest("li, .held").getBoundingClientRect().right < node.getBoundingClientRect().right
).map(node => node.outerHTML.slice(0, 200))"""

Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Browser, line: StandIn) -> Iterator[Visit]:
    """Opens tabs on the line while it runs and its last part was good; closes them at the end."""
    line.inspect(part_image(1))
    line.start()
    opened: list[Visitor] = []

    def make(**options: int) -> Visitor:
        opened.append(Visitor(chromium, line, **options))
        return opened[-1]

    yield make
    for visitor in opened:
        visitor.context.close()
    line.stop()
    line.says = {}


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_fits_stands_still_and_is_made_for_gloves(visit: Visit, width: int, height: int) -> None:
    visitor = visit(width=width, height=height)
    page = visitor.settled()
    expect(page.locator("#verdict-headline")).to_have_text("OK")
    assert not scrolls_sideways(page)
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate("window.shifted") < 0.1
    expect(page.locator("#waiting")).to_be_visible()
    for across in (1280, 1024, 800, 390):
        page.set_viewport_size({"width": across, "height": 1280})
        assert page.evaluate(CROWDED) == [], across
    page.set_viewport_size({"width": 800, "height": 1280})
    assert page.evaluate(STICKING_OUT) == []
    page.set_viewport_size({"width": width, "height": height})
    page.locator("#rows .row[data-kind=ng]").first.click()
    page.wait_for_url("**/inspections/*")
    expect(page.locator("table")).to_have_count(2)
    assert not scrolls_sideways(page)
    assert page.evaluate(SMALL_TARGETS) == []
    assert visitor.complaints == []


def test_no_word_of_the_lists_is_cut_after_a_million_parts(visit: Visit) -> None:
    visitor = visit(width=1280, height=1280)

    def aged(route: Route) -> None:
        response = route.fetch()
        text = re.sub(r'"id":(\d+)', lambda found: f'"id":{10**6 + int(found[1])}', response.text())
        text = re.sub(r'"held":(\d+)', lambda found: f'"held":{10**6 + int(found[1])}', text)
        route.fulfill(response=response, body=re.sub(r'"unseen":\d+', '"unseen":1234', text))

    visitor.page.route(re.compile("/api/(status|inspections)"), aged)
    visitor.context.add_cookies([{"name": "linewatch_language", "value": "de", "url": visitor.url}])
    page = visitor.settled()
    expect(page.locator("#held .choices")).to_contain_text("Alle 1.234 gesehen")
    expect(page.locator("#rows .row[data-kind=ng] p.muted").first).to_contain_text("Teil 10000")
    for width in (1280, 1024, 800, 390):
        page.set_viewport_size({"width": width, "height": 1280})
        assert page.evaluate(CUT) == [], width
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_commands_and_banners_fit_and_are_made_for_gloves(visit: Visit, line: StandIn, width: int, height: int) -> None:
    line.says = all_troubles()
    visitor = visit(width=width, height=height)
    page = visitor.settled()
    expect(page.locator("#notices > li")).to_have_count(4)
    expect(page.locator("#hints > li")).to_have_count(1)
    expect(page.locator("#notices [data-level=fault] p")).to_contain_text("stop the line")
    page.click("#notices [data-key=drift] summary")
    expect(page.locator("#notices [data-key=drift] p")).to_contain_text("false-reject rate no longer holds")
    assert not scrolls_sideways(page)
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    line.says = {}
    expect(page.locator("#notices > li")).to_have_count(0)
    expect(page.locator("#hints > li")).to_have_count(0)
    expect(page.locator("#controls")).to_be_hidden()
    assert visitor.complaints == []


def test_the_trigger_button_shows_its_part_and_an_overrun_in_words(visit: Visit, line: StandIn) -> None:
    line.says = all_commands()
    page = visit().settled()
    line.part = part_image(11, defect=True)
    page.click("#trigger")
    expect(page.locator("#command-answer .badge")).to_have_text("NG")
    expect(page.locator("#command-answer")).to_contain_text("Take the part out")
    line.busy = True
    page.click("#trigger")
    expect(page.locator("#command-answer")).to_contain_text("overrun")
    line.busy = False


def test_a_recipe_is_switched_only_after_a_second_yes(visit: Visit, line: StandIn) -> None:
    line.says = all_commands()
    page = visit().settled()
    expect(page.locator("#switch-recipe")).to_be_disabled()
    page.select_option("#recipe", "washer")
    page.click("#switch-recipe")
    expect(page.locator("#confirm-title")).to_have_text("Switch to recipe “washer”?")
    expect(page.locator("#confirm-no")).to_be_focused()
    assert page.evaluate(SMALL_TARGETS) == []
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_be_hidden()
    assert line.says["recipe"] == "default"
    page.click("#switch-recipe")
    page.click("#confirm-yes")
    expect(page.locator("#command-answer")).to_contain_text("“washer” is in use")
    expect(page.locator("[data-fact=recipe]")).to_have_text("washer")
    page.select_option("#recipe", "broken")
    page.click("#switch-recipe")
    page.click("#confirm-yes")
    expect(page.locator("#command-answer")).to_contain_text("does not match its sha256")


def test_a_self_test_is_asked_for_twice_and_answers_in_words(visit: Visit, line: StandIn) -> None:
    line.says = all_commands()
    page = visit().settled()
    page.click("#selftest")
    page.click("#confirm-yes")
    expect(page.locator("#selftest-answer")).to_have_text("The self-test passed: 1 of 1 references reproduced")


def test_a_page_on_which_nothing_is_new_asks_by_its_tag_and_still_follows(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    with page.expect_response(lambda answer: "/api/status" in answer.url and answer.status == 304):
        pass
    line.inspect(part_image(12, defect=True))
    expect(page.locator("#verdict-headline")).to_have_text("NG")


def test_a_camera_fault_is_shown_as_such_and_passes(visit: Visit, line: StandIn) -> None:
    line.says = {"quality_fault": "out of focus: 31 % of the commissioned sharpness"}
    page = visit().settled()
    expect(page.locator("#verdict")).to_have_attribute("data-kind", "camera")
    expect(page.locator("#verdict")).to_contain_text("out of focus: 31 %")
    assert page.evaluate(LOW_CONTRAST) == []
    line.says = {}
    expect(page.locator("#verdict-headline")).to_have_text("OK")


def test_during_a_camera_fault_the_picture_goes_on_and_says_what_it_is(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    line.says = {"quality_fault": "out of focus: 31 % of the commissioned sharpness"}
    expect(page.locator("#verdict")).to_have_attribute("data-kind", "camera")
    shown = set()
    for seed in range(3):
        view = named(encoded(part_image(seed)), None)
        for _ in range(100):
            write_live(line.config.run_dir, view, view)
            page.wait_for_timeout(100)
            address = page.locator("#live-image").get_attribute("src")
            if address not in shown:
                break
        shown.add(address)
        expect(page.locator("#live-note")).to_have_text("What the camera sees now")
    assert len(shown) == 3
    assert "old" not in (page.locator("#live-picture").get_attribute("class") or "")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_overview_follows_each_station_and_leads_to_it(
    chromium: Browser, station: StandIn, tiny_bundle: Bundle, tmp_path: Path, width: int, height: int
) -> None:
    other = StandIn(tmp_path / "other", tiny_bundle, "Line 4 flanges")
    station.show_also(other.write_toml(tmp_path / "other.toml"))
    for one in (station, other):
        one.inspect(part_image())
        one.start()
    with page_process(station.config):
        visitor = Visitor(chromium, station, width=width, height=height)
        page = visitor.open()
        tile = page.locator("[data-path='/stations/line-4-flanges']")
        expect(tile.locator(".headline")).to_have_text("OK")
        before = tile.locator(".shot").get_attribute("src") or ""
        other.inspect(part_image(3, defect=True))
        expect(tile.locator(".headline")).to_have_text("NG")
        expect(tile.locator(".shot")).not_to_have_attribute("src", before)
        assert not scrolls_sideways(page)
        assert page.evaluate(SMALL_TARGETS) == []
        assert page.evaluate(LOW_CONTRAST) == []
        tile.click()
        expect(page.locator("#verdict-headline")).to_have_text("NG")
        page.wait_for_selector("#live-image:not([hidden])")
        page.wait_for_selector("#rows .row")
        assert not scrolls_sideways(page)
        page.click("#rows .row >> nth=0")
        page.wait_for_url("**/stations/line-4-flanges/inspections/2")
        page.goto(f"{visitor.url}/stations/line-4-flanges/")
        page.click(".tabs a >> nth=0")
        page.wait_for_url(f"{visitor.url}/")
        visitor.context.close()
    other.stop()
    assert visitor.complaints == []


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_history_page_draws_its_charts_and_follows_its_filters(
    visit: Visit, line: StandIn, width: int, height: int
) -> None:
    visitor = visit(width=width, height=height)
    page = visitor.open("/history")
    for chart in ("bars", "scores", "latency"):
        expect(page.locator(f"#chart-{chart} :is(rect, path)").first).to_be_attached()
    expect(page.locator("#count-NG")).to_have_text(str(line.counts["NG"]))
    page.select_option("#verdict", "NG")
    expect(page.locator("#rows .row[data-kind=ok]")).to_have_count(0)
    expect(page.locator("#rows .row[data-kind=ng]").first).to_be_visible()
    page.select_option("#verdict", "")
    page.select_option("#reason", "no_frame")
    expect(page.locator("#rows .row[data-kind=error]").first).to_be_visible()
    expect(page.locator("#rows .row[data-kind=ng]")).to_have_count(0)
    with page.expect_download() as download:
        page.click("#csv")
    assert "no_frame" in download.value.path().read_text()
    assert not scrolls_sideways(page)
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    address = page.url
    assert "reason=no_frame" in address
    page.reload()
    expect(page.locator("#reason")).to_have_value("no_frame")
    assert visitor.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_word_has_enough_contrast(visit: Visit, line: StandIn, dark: bool) -> None:
    page = visit(dark=dark).settled()
    for verdict in ("OK", "NG", "ERROR"):
        if verdict == "ERROR":
            line.fail(Reason.BAD_FRAME, "too dark")
        else:
            line.inspect(part_image(3, defect=verdict == "NG"))
        expect(page.locator("#verdict-headline")).to_have_text(verdict)
        assert page.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_an_uploaded_image_shows_its_heatmap_and_defect_probability(
    visit: Visit, tmp_path: Path, width: int, height: int
) -> None:
    picture = tmp_path / "part.png"
    picture.write_bytes(encoded(part_image(5, defect=True), ".png"))
    visitor = visit(width=width, height=height)
    page = visitor.settled()
    page.set_input_files("#file", picture)
    expect(page.locator("#result-badge")).to_have_text("NG")
    expect(page.locator("#result-probability")).to_have_text("95.8 %")
    expect(page.locator("#try")).to_contain_text("nothing is sent to the line")
    expect(page.locator("#result-image")).to_have_attribute("src", re.compile("^data:image/jpeg"))
    expect(page.locator("#result-image")).to_have_js_property("naturalWidth", 640)
    page.click("#result-raw")
    expect(page.locator("#result-image")).to_have_attribute("src", re.compile("^blob:"))
    assert not scrolls_sideways(page)
    assert page.evaluate(SMALL_TARGETS) == []
    assert visitor.complaints == []


def test_an_upload_that_is_no_image_is_explained(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    page = visit().settled()
    page.set_input_files("#file", tmp_path / "notes.png")
    expect(page.locator("#result-error")).to_contain_text("not a readable image")
    expect(page.locator("#result-body")).to_be_hidden()


def test_a_new_verdict_appears_by_itself(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    line.inspect(part_image(7, defect=True))
    expect(page.locator("#verdict-headline")).to_have_text("NG")
    expect(page.locator("#announce")).to_contain_text("NG. Defect found: 2 marked areas.")
    line.inspect(part_image(8))
    expect(page.locator("#verdict-headline")).to_have_text("OK")


def test_a_dying_engine_takes_its_verdict_with_it(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    line.stop()
    line.health(written_at=datetime.now(UTC) - timedelta(seconds=30))
    expect(page.locator("#alarm-title")).to_contain_text("Engine not running since")
    expect(page.locator("#verdict-headline")).to_have_text("NO ENGINE")
    expect(page.locator("#live-note")).to_contain_text("Not live")
    expect(page.locator(".old-note")).to_be_visible()
    assert all("grayscale(1)" in text for text in page.evaluate(FILTERS))
    assert page.evaluate(LOW_CONTRAST) == []
    line.start()
    expect(page.locator("#verdict-headline")).to_have_text("OK")
    expect(page.locator("#alarm")).to_be_hidden()
    expect(page.locator(".old-note")).to_be_hidden()


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (800, 1280)])
def test_the_wall_shows_verdict_picture_and_yield_without_scrolling(visit: Visit, width: int, height: int) -> None:
    visitor = visit(width=width, height=height)
    page = visitor.open("/wall")
    expect(page.locator("#verdict-headline")).to_have_text("OK")
    expect(page.locator("#live-image")).to_be_visible()
    expect(page.locator("#yield")).to_have_text(re.compile(r"^[\d.]+\u00a0%$"))
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight && scrollY === 0")
    assert not scrolls_sideways(page)
    assert page.evaluate(SMALL_TARGETS) == []
    assert page.evaluate(LOW_CONTRAST) == []
    assert visitor.complaints == []


def test_the_wall_tells_a_reject_and_a_dead_engine_with_a_sound_that_a_person_switched_on(
    visit: Visit, line: StandIn
) -> None:
    page = visit().open("/wall")
    expect(page.locator("#verdict-headline")).to_have_text("OK", timeout=HANG_MS)
    page.evaluate(COUNT_TONES)
    line.inspect(part_image(2, defect=True))
    expect(page.locator("#verdict-headline")).to_have_text("NG", timeout=HANG_MS)
    assert page.evaluate("window.tones") == 0, "nobody has switched the sound on"
    page.click("#sound")
    expect(page.locator("#sound")).to_have_text("Sound is on")
    heard = page.evaluate("window.tones")
    line.stop()
    expect(page.locator("#wall")).to_have_attribute("data-kind", "none", timeout=HANG_MS)
    assert page.evaluate("window.tones") > heard


def test_a_lost_connection_is_said_and_found_again(chromium: Browser, station: StandIn) -> None:
    station.inspect(part_image())
    station.start()
    with page_process(station.config):
        visitor = Visitor(chromium, station)
        page = visitor.open()
        expect(page.locator("#verdict-headline")).to_have_text("OK")
    expect(page.locator("#verdict-headline")).to_have_text("NO LINK", timeout=HANG_MS)
    expect(page.locator("#alarm-title")).to_contain_text("No connection")
    with page_process(station.config):
        expect(page.locator("#verdict-headline")).to_have_text("OK", timeout=HANG_MS)
        expect(page.locator("#alarm")).to_be_hidden()
        visitor.context.close()


def test_a_network_that_says_nothing_is_told_in_two_seconds(visit: Visit) -> None:
    """The station answers no more and refuses nothing either, as behind a pulled cable."""
    page = visit().settled()
    expect(page.locator("#verdict-headline")).to_have_text("OK")
    page.evaluate(TELL_WHEN_LOST)
    while page.evaluate("window.answeredAt === undefined"):
        page.wait_for_timeout(50)
    page.route("**/api/status*", lambda route: None)
    expect(page.locator("#verdict-headline")).to_have_text("NO LINK")
    assert all("grayscale(1)" in text for text in page.evaluate(FILTERS))
    assert page.evaluate("window.lostAt - window.answeredAt") < 2500, "1.5 s, and a second for a loaded machine"


def test_an_answer_that_cannot_be_shown_leaves_no_old_verdict_on_the_page(visit: Visit) -> None:
    page = visit().settled()
    expect(page.locator("#verdict-headline")).to_have_text("OK")
    page.route("**/api/status*", lambda route: route.fulfill(json={"engine": {"alive": True}}))
    expect(page.locator("#verdict-headline")).to_have_text("NO LINK")
    page.unroute("**/api/status*")
    expect(page.locator("#verdict-headline")).to_have_text("OK")


def test_the_list_goes_on_by_what_is_new_with_its_pictures(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for seed in (21, 22):
        newest = line.inspect(part_image(seed, defect=True)).id
        expect(page.locator("#rows .row").first).to_contain_text(f"Part {newest}")
        expect(page.locator("#rows img").first).to_have_js_property("complete", True)
    number = "Number(one.href.split('/').pop().split('?')[0])"
    shown = page.locator("#rows a").evaluate_all(f"all => all.map(one => {number})")
    assert shown == list(range(newest, newest - 24, -1))
    assert page.locator("#rows img").first.evaluate("image => image.naturalWidth") > 0
    lists = [one for one in asked if "/api/inspections?" in one]
    assert lists
    assert all("after=" in one for one in lists)
    strip = [one for one in asked if one.endswith(f"/pictures/{newest}/thumb")]
    assert len(strip) <= 1, "the rejects load theirs, the list has it already"
    assert not [one for one in asked if "/shown/" in one], "the live picture comes with the status"


def test_the_history_filters_and_loads_more(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    rows = page.locator("#rows .row")
    expect(rows).to_have_count(24)
    while page.locator("#more").is_visible():
        before = rows.count()
        page.click("#more")
        expect(rows).not_to_have_count(before)
    total = sum(line.counts.values())
    expect(rows).to_have_count(total)
    expect(page.locator("#rows-what")).to_have_text(f"{total} of {total} parts")
    page.click("#filter [data-verdict=NG]")
    expect(rows).to_have_count(line.counts["NG"])
    expect(page.locator("#rows-what")).to_have_text(f"{line.counts['NG']} of {total} parts")
    rejected = line.counts["NG"] + line.counts["ERROR"]
    expect(page.locator("#strip-what")).to_have_text(f"{min(6, rejected)} of {rejected} rejected parts")
    assert set(page.locator("#rows .badge").all_inner_texts()) == {"NG"}


def test_the_list_does_not_move_under_a_finger(visit: Visit, line: StandIn) -> None:
    page = visit().settled()
    first = page.locator("#rows .row").first
    page.mouse.move(300, 300)
    page.mouse.move(310, 310)
    before = first.get_attribute("href")
    line.inspect(part_image(9))
    expect(page.locator("#newer")).to_have_text("Show 1 newer")
    assert first.get_attribute("href") == before
    page.click("#newer")
    expect(first).not_to_have_attribute("href", before or "")


def test_the_live_picture_toggles_by_keyboard(visit: Visit) -> None:
    page = visit().settled()
    page.focus("#show-raw")
    with page.expect_response("**/api/status?inline=1&raw=1"):
        page.keyboard.press("Enter")
    expect(page.locator("#show-raw")).to_have_attribute("aria-pressed", "true")


TELL_WHEN_LOST = """() => {
    const ask = window.fetch;
    window.fetch = async (...given) => { const at = performance.now(); const answer = await ask(...given);
        if (String(given[0]).includes('/api/status')) window.answeredAt = at; return answer; };
    new MutationObserver(() => { if (document.querySelector('#verdict-headline').textContent === 'NO LINK')
        window.lostAt ??= performance.now(); }).observe(document.querySelector('#verdict-headline'),
        { childList: true, characterData: true, subtree: true }); }"""
FILTERS = """() => [...document.querySelectorAll('.tiles, .charts, #facts .facts, #live-image')]
    .map(node => getComputedStyle(node).filter)"""
SAMPLE = """(pictures) => {
    window.samples = [];
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    [canvas.canvas.width, canvas.canvas.height] = [64, 48];
    const look = () => {
        const [image, word] = [document.querySelector('#live-image'), document.querySelector('#verdict-headline')];
        const part = document.querySelector('#verdict-which').textContent.match(/Part (\\d+)/);
        const score = document.querySelector('#verdict-score .score-value').textContent;
        let stained = null;
        if (!image.hidden && image.complete && image.naturalWidth) {
            canvas.drawImage(image, 0, 0, 64, 48);
            const [r, g, b] = canvas.getImageData(24, 16, 1, 1).data;
            stained = Math.max(r, g, b) > 190;
        }
        window.samples.push([word.textContent, part && Number(part[1]), Number(score), stained]);
        requestAnimationFrame(look);
    };
    look(); }"""
STAIN = (slice(96, 240), slice(160, 320))  # rows and columns that the defective picture has white
SECONDS_OF_PARTS = 8.0


def test_panel_score_and_picture_are_never_of_different_parts(visit: Visit, line: StandIn) -> None:
    """Good and bad parts in turn, nine a second: polls meet both kinds. Every frame of the browser is looked at."""
    good = part_image(1)
    bad = good.copy()
    bad[STAIN] = 255
    page = visit().settled()
    stop = threading.Event()

    def parts() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            line.inspect((good, bad)[line.last.id % 2 if line.last else 0], keep=False)
            stop.wait(max(0.0, 0.11 - (time.monotonic() - begun)))

    running = threading.Thread(target=parts)
    running.start()
    try:
        page.wait_for_timeout(1000)
        page.evaluate(SAMPLE)
        page.wait_for_timeout(SECONDS_OF_PARTS * 1e3)
    finally:
        stop.set()
        running.join()
    samples = [tuple(sample) for sample in page.evaluate("window.samples")]
    log = EventLog(line.config.events_db, read_only=True)
    rows = {number: log.get(number) for number in {sample[1] for sample in samples} - {None}}
    log.close()
    shown = 0
    for word, part, score, stained in samples:
        row = rows[part]
        assert row is not None
        assert word == row.verdict.value
        assert score == pytest.approx(row.distance, abs=0.01)
        if stained is not None:
            shown += 1
            assert stained is (row.verdict is Verdict.NG), f"part {part} is {word}, and the picture is of another one"
    assert {word for word, *_ in samples} == {"OK", "NG"}
    assert shown > len(samples) / 2, "the pictures follow the parts"


def test_a_report_counts_what_its_filter_lets_through(visit: Visit, line: StandIn) -> None:
    page = visit().open("/history?verdict=NG")
    expect(page.locator("#count-NG")).to_have_text(str(line.counts["NG"]))
    expect(page.locator("#count-OK")).to_have_text("0")


def test_each_of_several_uploads_is_judged_and_a_drop_beside_the_box_stays(visit: Visit, tmp_path: Path) -> None:
    for name, defect in (("one.png", False), ("two.png", True), ("three.png", False)):
        (tmp_path / name).write_bytes(encoded(part_image(3, defect), ".png"))
    page = visit().settled()
    page.set_input_files("#file", [tmp_path / name for name in ("one.png", "two.png", "three.png")])
    found = page.locator("#result-list li")
    expect(found).to_have_count(3)
    assert [text.split()[0] for text in found.all_inner_texts()] == ["one.png:", "two.png:", "three.png:"]
    assert found.locator(".badge").all_inner_texts() == ["OK", "NG", "OK"]
    kept = page.evaluate(
        "() => !document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true }))"
    )
    assert kept, "the browser would open the file in place of the page"


def test_a_tablet_speaks_german_shows_the_stations_time_and_says_that_its_own_clock_differs(
    visit: Visit, line: StandIn, chromium: Browser
) -> None:
    with_seconds = re.compile(r"Teil \d+ · \d\d:\d\d:\d\d (UTC|[A-Z]+)")
    context = chromium.new_context(
        locale="de-DE", timezone_id="Pacific/Chatham", viewport={"width": 390, "height": 844}
    )
    page = context.new_page()
    page.set_default_timeout(HANG_MS)
    try:
        page.goto(f"http://127.0.0.1:{line.config.page.port}/")
        expect(page.locator("#verdict-what")).to_have_text("Kein Fehler gefunden.")
        expect(page.locator("#verdict-which")).to_have_text(with_seconds)
        expect(page.locator("#rows .row").first).to_contain_text("Abstand -0,2")
        expect(page.locator("#clocks")).to_contain_text("Die Uhr dieses Tablets zeigt")
        expect(page.locator("#clocks")).to_contain_text(re.compile(r"UTC\+1[23]:45"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("button", name="English").click()
        page.wait_for_selector("html[lang=en]")
        expect(page.locator("#verdict-what")).to_have_text("No defect found.")
        expect(page.locator("#clocks")).to_contain_text("clock shows")
    finally:
        context.close()
