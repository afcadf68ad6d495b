"""Photographs every page of a real station: the documents' pictures, and all pages at all widths to be looked at.

`python -m tests.edge.web.photographs FOLDER [--minutes 1] [--pages "/,/shift"] [--dark] [--people] [--docs]`: the
demo's engine and page run for a while, then Debian's Chromium opens each page at 1280, 1024, 800 and 390 pixels. With
--docs the pictures of pages are made that docs/ shows; those of the guides are of a made-up station.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from edge.exchange.bundle_desk import write_outcome
from edge.exchange.health import State
from tests.edge.web.conftest import ARGUMENTS, CHROMIUM, free_port
from tests.edge.web.standin import StandIn
from tests.edge.web.tablets import running
from tests.edge.web.test_browser_set_up import REPORT
from tests.edge.web.test_server import page_process
from tests.edge.web.test_set_up import proven
from tests.tiny import write_tiny_bundle

PAGES = ("/", "/history", "/shift", "/review", "/limit", "/bundles", "/set-up", "/service", "/people", "/wall")
SIZES = ((1280, 800), (1024, 768), (800, 1280), (390, 844))
DOCS = [("/", (1280, 900), "page.png"), ("/wall", (960, 540), "wall.png")]
GUIDES = ("shift", "service", "set-up", "bundles")
SHEET_HIGH = 640  # pixels
SETTLE_MS = 2500


def shoot(page: Page, url: str, path: str, file: Path, whole: bool) -> None:
    page.goto(f"{url}{path}")
    page.wait_for_timeout(SETTLE_MS)
    if path == "/" and not whole:  # a reject is what a picture of the page is to show
        page.wait_for_selector("#verdict[data-kind=ng]", timeout=60_000)
    page.screenshot(path=file, full_page=whole)


def contact_sheet(page: Page, url: str, file: Path) -> None:
    """Photograph the first page on a tablet, on a tablet held upright and on a phone, side by side."""
    shots = []
    for width, height in SIZES[1:]:
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{url}/")
        page.wait_for_timeout(SETTLE_MS)
        shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        resized = cv2.resize(shot, (round(SHEET_HIGH * width / height), SHEET_HIGH), interpolation=cv2.INTER_AREA)
        shots += [resized, np.full((SHEET_HIGH, 24, 3), 255, np.uint8)]
    cv2.imwrite(str(file), np.hstack(shots[:-1]), [cv2.IMWRITE_WEBP_QUALITY, 80])


def guides(browser: Browser, folder: Path) -> None:
    """Photograph the pages that the guides show, of a station with a busy day, in its set-up, after a shadow run."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        station = StandIn(place / "station", write_tiny_bundle(place / "bundle", place / "work"), port=free_port())
        station.shift(20.0, 4000)
        station.fill(45)
        proven(station)
        write_outcome(station.config.run_dir, REPORT)
        station.start(State.COMMISSIONING)
        with page_process(station.config):
            for path in GUIDES:
                tab = browser.new_page(viewport={"width": 1024, "height": 900})
                tab.goto(f"http://127.0.0.1:{station.config.page.port}/{path}")
                tab.wait_for_timeout(SETTLE_MS)
                shot = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
                cv2.imwrite(str(folder / f"{path}.webp"), shot, [cv2.IMWRITE_WEBP_QUALITY, 80])
                tab.close()
        station.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0, help="that the engine runs before")
    parser.add_argument("--pages", default=",".join(PAGES))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--people", action="store_true", help="somebody is set up, and a guest looks")
    parser.add_argument("--docs", action="store_true", help="the pictures of docs/")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as name,
        running(Path(name), people=options.people) as (station, _),
        sync_playwright() as playwright,
    ):
        time.sleep(60 * options.minutes)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        scheme = "dark" if options.dark else "light"
        pages = options.pages.split(",")
        all_of = [(path, size, f"{path.strip('/') or 'first'}-{size[0]}.png") for path in pages for size in SIZES]
        for path, (width, height), file in DOCS if options.docs else all_of:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            shoot(context.new_page(), f"http://127.0.0.1:{station.port}", path, options.folder / file, not options.docs)
            context.close()
            print(options.folder / file, flush=True)
        if options.docs:
            contact_sheet(browser.new_page(), f"http://127.0.0.1:{station.port}", options.folder / "sizes.webp")
            guides(browser, options.folder)


if __name__ == "__main__":
    main()
