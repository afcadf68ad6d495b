"""How long does the first page go on showing a verdict when the engine, the page or the network has gone?

`python -m tests.edge.web.silence [--times 10]`, as root: a real engine and page in a network of their own, and Debian's
Chromium. Prints for each way to fall silent the time until the page says so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.edge.web.conftest import ARGUMENTS, CHROMIUM
from tests.edge.web.tablets import page_of
from tests.system.station import HANG_S, ROOT, Engine, Station
from tests.tiny import write_tiny_bundle

SHOWS_A_VERDICT = "#verdict:is([data-kind=ok], [data-kind=ng])"
WATCH = """() => { window.said = new Promise(done => {
    const panel = document.querySelector("#verdict");
    const look = () => !["ok", "ng", "error"].includes(panel.dataset.kind) && (done(Date.now() / 1000), true);
    if (!look()) new MutationObserver((_, self) => look() && self.disconnect()).observe(panel, { attributes: true });
}); }"""
DROP = (
    "add table inet silent; add chain inet silent in { type filter hook input priority 0; }; add rule inet silent in "
)


def silence(tab: Page, station: Station, fall_silent: Callable[[], object]) -> float:
    """Return how long, in s, the page showed a verdict after something fell silent."""
    tab.goto("about:blank")  # a page that hears of a new process loads itself anew
    tab.goto(f"http://127.0.0.1:{station.port}/")
    tab.wait_for_selector(SHOWS_A_VERDICT)
    time.sleep(1.0 + random.random())  # at any time between two questions
    tab.wait_for_selector(SHOWS_A_VERDICT)
    tab.evaluate(WATCH)
    began = time.time()
    fall_silent()
    return float(tab.evaluate("() => window.said")) - began


@contextlib.contextmanager
def page_of_its_own(station: Station) -> Iterator[subprocess.Popen[bytes]]:
    """Run the page as its unit does, and wait until it answers."""
    page = subprocess.Popen([sys.executable, "-m", "edge", "page", "--config", str(station.file)], cwd=ROOT)
    try:
        asked = ["curl", "-s", "--retry", "200", "--retry-delay", "1", "--retry-all-errors", "-o", "/dev/null"]
        subprocess.run([*asked, f"http://127.0.0.1:{station.port}/healthz"], check=True, timeout=HANG_S)
        yield page
    finally:
        page.kill()
        page.wait()


def killed_page(tab: Page, station: Station) -> float:
    with Engine(station, "--no-page") as engine:
        engine.ready()
        with page_of_its_own(station) as page:
            return silence(tab, station, page.kill)


def killed_engine(tab: Page, station: Station) -> float:
    with page_of_its_own(station), Engine(station, "--no-page") as engine:
        engine.ready()
        return silence(tab, station, engine.process.kill)


def stopped_engine(tab: Page, station: Station) -> float:
    with page_of_its_own(station), Engine(station, "--no-page") as engine:
        engine.ready()
        return silence(tab, station, lambda: engine.process.send_signal(signal.SIGSTOP))


def killed_engine_with_its_page(tab: Page, station: Station) -> float:
    with Engine(station) as engine:
        engine.ready()
        page = page_of(engine.process.pid)
        took = silence(tab, station, engine.process.kill)
        with contextlib.suppress(ProcessLookupError):
            os.kill(page, signal.SIGKILL)  # else the next one may find its port taken
        return took


def dropped_packets(tab: Page, station: Station) -> float:
    with page_of_its_own(station), Engine(station, "--no-page") as engine:
        engine.ready()
        try:
            return silence(tab, station, lambda: nft(f"{DROP} tcp dport {station.port} drop"))
        finally:
            nft("flush ruleset")


def nft(rules: str) -> None:
    subprocess.run(["nft", rules], check=True)


def measure(times: int) -> None:
    ways = (killed_engine, killed_engine_with_its_page, stopped_engine, killed_page, dropped_packets)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        station = Station(folder, write_tiny_bundle(folder / "bundle", folder / "work"), rate_hz=2.0, deadline_ms=900)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page()
        tab.set_default_timeout(1e3 * HANG_S)
        for way in ways:
            took = sorted(way(tab, station) for _ in range(times))
            middle, name = statistics.median(took), way.__name__.replace("_", " ")
            most, load = f"{took[0]:.2f} to {took[-1]:.2f} s", os.getloadavg()[0]
            print(f"{name}: n {times}, median {middle:.2f} s, {most}, load {load:.1f}", flush=True)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        again = [sys.executable, "-m", "tests.edge.web.silence", "--inside", "--times", str(options.times)]
        os.execvp("unshare", ["unshare", "--net", *again])  # noqa: S606
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    measure(options.times)


if __name__ == "__main__":
    main()
