"""What people do at the page, in a real Chromium, with a real engine and the page that it starts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from edge.commands.bundle import desk
from edge.config.load import load_config
from edge.core.types import Verdict
from edge.exchange.bundle_desk import wish_waits
from edge.history.orders import OrderStore
from edge.history.reviews import Opinion, ReviewStore
from edge.inference.bundle import Bundle
from edge.inference.release.archive import archive_path, write_archive
from tests.edge.engine.parts import wait_for
from tests.edge.inference.release.signing import needs_root, released
from tests.edge.web.conftest import CHROMIUM, chromium
from tests.system.station import Engine, Station
from tests.tiny import THRESHOLD

__all__ = ["chromium"]
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed: apt install chromium")
HANG_MS = 20_000
LOADED = "image => image.complete && image.naturalWidth > 0"


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[Station]:
    """A line of good and bad parts in turn; people exchange its bundles."""
    folder = tmp_path_factory.mktemp("page")
    station = Station(folder, tiny_bundle)
    station.file.write_text(station.file.read_text().replace(str(tiny_bundle.path), "models/current"))
    (folder / "models").mkdir()
    shutil.copytree(tiny_bundle.path, folder / "models" / "plain")
    (folder / "models" / "current").symlink_to("plain")
    station.config = load_config(station.file)
    with Engine(station) as engine:
        engine.ready()
        wait_for(lambda: {Verdict.OK, Verdict.NG} <= {row.verdict for row in station.rows()})
        yield station
        assert engine.stop() == 0


@pytest.fixture(scope="module")
def tab(chromium: Browser, station: Station) -> Iterator[Page]:
    """A tablet at the station's address, whose person typed a name once."""
    context = chromium.new_context(viewport={"width": 1024, "height": 768}, base_url=f"http://127.0.0.1:{station.port}")
    context.set_default_timeout(HANG_MS)
    context.add_init_script('localStorage.setItem("linewatch-who", "Anna")')
    yield context.new_page()
    context.close()


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    expect.set_options(timeout=HANG_MS)
    yield
    expect.set_options(timeout=5_000)


def test_a_tap_on_the_live_picture_shows_it_in_full(tab: Page) -> None:
    tab.goto("/")
    tab.get_by_role("button", name="Show the live picture in full").click()
    expect(tab.locator("#look")).to_be_visible()
    tab.wait_for_function(f"({LOADED})(document.querySelector('#look-picture'))")
    tab.get_by_role("button", name="Close", exact=True).click()
    expect(tab.locator("#look")).to_be_hidden()


def test_seen_is_stored_for_all_rejects_up_to_the_last(tab: Page, station: Station) -> None:
    tab.goto("/")
    wait_for(lambda: len([row for row in station.rows() if row.verdict is Verdict.NG]) > 1)
    with tab.expect_response("**/api/seen") as answered:
        tab.get_by_role("button", name=re.compile(r"^All \d+ seen$")).click()
    assert answered.value.status == 200
    with closing(ReviewStore(station.config.page_dir, read_only=True)) as store:
        up_to = store.seen().up_to
    assert station.rows()[up_to - 1].verdict is Verdict.NG


def test_an_answer_is_stored_and_taken_back(tab: Page, station: Station) -> None:
    tab.goto("/review")
    heading = tab.locator("#review-part")
    expect(heading).to_contain_text("Part ")
    part = int(re.findall(r"\d+", heading.inner_text())[0])
    tab.get_by_role("button", name="Really bad").click()
    expect(tab.locator("#undo-words")).to_contain_text(f"Part {part}: really bad")
    tab.get_by_role("button", name="Undo").click()
    expect(tab.locator("#undo-words")).to_contain_text("the answer is taken back")
    expect(heading).to_contain_text(f"Part {part}")
    with closing(ReviewStore(station.config.page_dir, read_only=True)) as store:
        last = store.last(part)
    assert last is not None
    assert (last.opinion, last.who) == (Opinion.NONE, "Anna")


def test_a_limit_judges_with_its_reason_and_is_taken_back(tab: Page, station: Station) -> None:
    def threshold() -> float | None:
        health = station.health()
        return None if health is None else health.threshold

    tab.goto("/limit")
    tab.get_by_role("button", name="Laxer by 0.05").click()
    expect(tab.locator("#at-text")).to_contain_text("1.05 (score")
    tab.get_by_label("Why").fill("rust marks are fine")
    tab.get_by_role("button", name="Judge by this limit").click()
    expect(tab.locator("#apply-answer")).to_have_attribute("data-kind", "ok")
    assert (threshold() or 0.0) > THRESHOLD
    expect(tab.locator("#log tr").first).to_contain_text("rust marks are fine")
    tab.get_by_label("Why").fill("it was a try")
    tab.get_by_role("button", name="Back to the model").click()
    expect(tab.locator("#log tr").first).to_contain_text("it was a try")
    assert threshold() == THRESHOLD


def test_an_order_that_is_chosen_is_in_force(tab: Page, station: Station) -> None:
    tab.goto("/shift")
    tab.locator("#order").fill("4711 A")
    tab.get_by_role("button", name="Set", exact=True).click()
    expect(tab.locator("#order-answer")).to_contain_text("belong to order 4711 A")
    with closing(OrderStore(station.config.page_dir, read_only=True)) as store:
        assert store.current() == "4711 A"


def test_the_set_up_shows_sharpness_and_light_of_the_camera(tab: Page) -> None:
    tab.goto("/set-up")
    tab.get_by_role("button", name="Begin the set-up").click()
    expect(tab.locator("#state")).to_have_text("set-up runs")
    tab.wait_for_function("document.querySelector('#focus').value > 0 && document.querySelector('#light').value > 0")
    expect(tab.locator("#light-text")).to_contain_text("of 255")
    tab.get_by_role("button", name="End the set-up").click()
    expect(tab.locator("#state")).to_have_text("inspects")


@needs_root
def test_a_bundle_is_checked_and_a_file_that_is_none_says_so(
    tab: Page, station: Station, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "step_aside", lambda: None)  # this process goes on with other tests
    archive = archive_path(released(tiny_bundle, tmp_path, 1).path)
    write_archive(released(tiny_bundle, tmp_path / "again", 1), archive)
    tab.goto("/bundles")
    for data, said in (
        (archive.read_bytes(), "it does not judge yet"),
        (b"no bundle", "has no end; it was cut off"),
    ):
        tab.locator("#file").set_input_files({"name": "new.lwb", "mimeType": "", "buffer": data})
        wait_for(lambda: wish_waits(station.config.page_dir))
        desk.attend(station.config)
        expect(tab.locator("#work")).to_contain_text(said)
