"""Photographs every page of a real station: the documents' pictures, and all pages at all widths to be looked at.

`python -m tests.edge.web.photographs FOLDER [--minutes 1] [--pages "/,/shift"] [--dark] [--people] [--docs]`: the
demo's engine and page run for a while, then Debian's Chromium opens each page at 1280, 1024, 800 and 390 pixels. With
--docs the pictures of the first page and the wall display are made that docs/ shows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.edge.web.conftest import ARGUMENTS, CHROMIUM
from tests.edge.web.tablets import running

PAGES = ("/", "/history", "/shift", "/review", "/limit", "/bundles", "/set-up", "/service", "/people", "/wall")
SIZES = ((1280, 800), (1024, 768), (800, 1280), (390, 844))
DOCS = [("/", (1280, 900), "page.png"), ("/wall", (960, 540), "wall.png")]
SETTLE_MS = 2500


def shoot(page: Page, url: str, path: str, file: Path, whole: bool) -> None:
    page.goto(f"{url}{path}")
    page.wait_for_timeout(SETTLE_MS)
    if path == "/" and not whole:  # a reject is what a picture of the page is to show
        page.wait_for_selector("#verdict[data-kind=ng]", timeout=60_000)
    page.screenshot(path=file, full_page=whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0, help="that the engine runs before")
    parser.add_argument("--pages", default=",".join(PAGES))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--people", action="store_true", help="somebody is set up, and a guest looks")
    parser.add_argument("--docs", action="store_true", help="the two pictures of docs/")
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


if __name__ == "__main__":
    main()
