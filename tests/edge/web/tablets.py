"""How much do tablets cost a station? A real engine and its page, with and without tablets in turn.

`python -m tests.edge.web.tablets [--tablets 20] [--seconds 20] [--rounds 4] [--tls]`: each tablet asks as the page's
scripts ask: the status with the live picture each 0.4 s, what is new in the list, and the pictures of rejects, over at
most six connections. People are set up, and each tablet has its cookie. Prints the time per part, and the page's CPU
and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.commands.acceptance.station import free_port
from edge.config.load import load_config
from edge.history.eventlog import EventLog
from edge.people.roles import Role
from edge.people.store import People
from tests.system.station import ROOT, Engine, Station

EVERY_S = 0.4  # static/follow.js
FOLLOW_S = 2.0  # static/history.js and static/charts.js, which share an answer
LISTED = 24  # rows on show, whose pictures the first answer does not bring
CONNECTIONS = 6  # of a browser to one host
SETTLE_S = 2.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Tablet:
    """One browser on the first page."""

    port: int
    tls: ssl.SSLContext | None
    counts: Counter[str]
    late: list[float]
    cookie: str = ""
    tag: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    listed: int = 0
    listed_at: float = 0.0
    whole: int = 0  # highest row that is known with its picture
    seen: set[str] = field(default_factory=set)
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))

    async def live(self, after_s: float) -> None:
        """Ask until it is cancelled."""
        await asyncio.sleep(after_s)
        _, head, _ = await self.get("/")
        self.cookie = head["set-cookie"].partition(";")[0]
        while True:
            began = time.monotonic()
            await self.poll()
            self.late.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))

    async def poll(self) -> None:
        """Ask for the status, which brings its picture; lists and charts follow beside it."""
        known = f"If-None-Match: {self.tag}\r\n" if self.tag else ""
        code, head, body = await self.get("/api/status?inline=1&raw=0", known)
        self.counts[f"status {code}"] += 1
        if code == 200:
            self.tag, self.status = head.get("etag", ""), json.loads(body)
        for task in (self.list(), self.rejects()):
            beside.add(one := asyncio.create_task(task))
            one.add_done_callback(beside.discard)

    async def list(self) -> None:
        """Load the last rows, of which the charts are drawn, too, and their pictures."""
        if self.status["history"]["last_id"] == self.listed or time.monotonic() - self.listed_at < FOLLOW_S:
            return
        since = f"&after={self.whole}&inline=1" if self.whole else ""
        self.listed, self.listed_at = self.status["history"]["last_id"], time.monotonic()
        code, _, body = await self.get(f"/api/inspections?limit=100{since}")
        self.counts[f"list {code}"] += 1
        rows = json.loads(body)["inspections"]
        pictured = [row["id"] for row in rows if row["pictures"]["thumb"]]
        self.whole = max(pictured, default=self.whole)  # static/rows.js asks for rows without a picture again
        await self.images([row["pictures"]["thumb"] for row in rows[:LISTED] if not since])

    async def rejects(self) -> None:
        rejects = self.status["rejects"]
        held = next((row for row in rejects["last"] if row["id"] == rejects["held"]), None)
        await self.images([row["pictures"]["thumb"] for row in rejects["last"]])
        await self.images([held["pictures"]["heat"]] if held else [])

    async def images(self, addresses: list[str | None]) -> None:
        """Load those that are not in the browser's memory."""
        fresh = {one for one in addresses if one} - self.seen
        self.seen |= fresh
        for code, _, _ in await asyncio.gather(*(self.get(one) for one in fresh)):
            self.counts[f"image {code}"] += 1

    async def get(self, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body; over a connection that is free, else a new one."""
        said = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {self.cookie}\r\n{''.join(headers)}\r\n".encode()
        async with self.places:
            while True:
                old = bool(self.free)
                peer = self.free.pop() if old else await self.connected()
                try:
                    peer[1].write(said)
                    found = await answered(peer[0])
                except (asyncio.IncompleteReadError, ConnectionError):
                    peer[1].close()
                    if not old:
                        raise
                    continue  # the page had let this connection go
                self.free.append(peer)
                return found

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.counts["connections"] += 1
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, limit=2**20)


beside: set[asyncio.Task[None]] = set()


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    head = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(head.get("content-length", 0)))
    return int(first.split()[1]), head, body


@contextlib.asynccontextmanager
async def tablets(count: int, port: int, tls: bool, counts: Counter[str], late: list[float]) -> AsyncIterator[None]:
    """So many tablets look at the page; they come one after the other."""
    context = ssl._create_unverified_context() if tls else None  # noqa: S323
    looking = [Tablet(port, context, counts, late) for _ in range(count)]
    tasks = [asyncio.create_task(one.live(EVERY_S * place / count)) for place, one in enumerate(looking)]
    try:
        yield
    finally:
        for task in [*tasks, *beside]:
            task.cancel()
        failed = await asyncio.gather(*tasks, return_exceptions=True)
        for one in looking:
            for _, writer in one.free:
                writer.close()
        counts["tablets that failed"] += sum(not isinstance(one, asyncio.CancelledError) for one in failed)


@dataclass
class Phase:
    """What was seen while so many tablets looked."""

    tablets: int
    begin: datetime
    end: datetime
    seconds: float
    page_cpu_s: float
    own_cpu_s: float
    rss_mb: float


class Demo(Station):
    """A station by its own station.toml."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self.file = folder, folder / "station.toml"
        self.file.write_text(text)
        self.config = load_config(self.file)
        self.port = self.config.page.port


def page_of(engine: int) -> int:
    """Return the process id of the page that an engine started."""
    children = Path(f"/proc/{engine}/task/{engine}/children").read_text().split()
    return next(int(one) for one in children if b"page" in Path(f"/proc/{one}/cmdline").read_bytes())


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def phase(count: int, station: Station, page: int, options: argparse.Namespace, seen: Any) -> Phase:
    async with tablets(count, station.port, options.tls, *seen):
        await asyncio.sleep(SETTLE_S)
        begin, began, page_s, own_s = datetime.now(UTC), time.monotonic(), cpu_s(page), time.process_time()
        await asyncio.sleep(options.seconds)
        seconds = time.monotonic() - began
        return Phase(
            count, begin, datetime.now(UTC), seconds, cpu_s(page) - page_s, time.process_time() - own_s, rss_mb(page)
        )


@contextlib.contextmanager
def running(folder: Path, tls: bool = False, people: bool = True) -> Iterator[tuple[Station, int]]:
    """Run the station of models/demo.toml with folders and a port of its own; yields it and its page's process id.

    people: somebody is set up, and guests may look.
    """
    models = ROOT / "models"
    text = (models / "demo.toml").read_text().replace("../state/demo", "state")
    text = text.replace('"default"', f'"{models / "default"}"').replace('"samples"', f'"{models / "samples"}"')
    text = text.replace("deadline_ms = 100", "deadline_ms = 1000")  # a busy computer is measured, too
    text = text.replace("port = 8080", f"port = {free_port()}\ntls = {str(tls).lower()}")
    station = Demo(folder, f"{text}guests_may_look = {str(people).lower()}\n")
    if people:
        People(station.config.page_dir).add("Measured", Role.ENGINEER)
    with Engine(station) as engine:
        print(engine.ready(), flush=True)
        yield station, page_of(engine.process.pid)
        engine.stop()


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(phases: list[Phase], station: Station, counts: Counter[str], late: list[float]) -> None:
    log = EventLog(station.config.events_db, read_only=True)
    for count in sorted({one.tablets for one in phases}):
        mine = [one for one in phases if one.tablets == count]
        rounds = [[row.timings for row in log.between(one.begin, one.end, None, None)] for one in mine]
        seconds = sum(one.seconds for one in mine)
        page, own = sum(one.page_cpu_s for one in mine) / seconds, sum(one.own_cpu_s for one in mine) / seconds
        print(f"{count} tablets, {len(mine)} rounds, {seconds:.0f} s, {sum(map(len, rounds))} parts")
        for name in ("infer_ms", "total_ms"):
            each = [[getattr(one, name) for one in part] for part in rounds]
            values = [value for part in each for value in part]
            middle = " ".join(f"{quantile(part, 0.5):.2f}" for part in each)
            print(
                f"  {name}: p50 {quantile(values, 0.5):.2f}, p99 {quantile(values, 0.99):.2f}, max {max(values):.2f}; "
                f"p50 of the rounds {middle}"
            )
        print(
            f"  page {page:.3f} core, {max(one.rss_mb for one in mine):.0f} MB; the tablets themselves {own:.3f} core"
        )
    log.close()
    print("requests:", dict(sorted(counts.items())))
    if late:
        middle, slow = 1e3 * statistics.median(late), 1e3 * quantile(late, 0.99)
        print(f"a status and its picture took {middle:.0f} ms, p99 {slow:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tablets", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=4, help="of a phase without and one with tablets")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name, running(Path(name), options.tls) as (station, page):
        counts: Counter[str] = Counter()
        late: list[float] = []
        phases = [
            asyncio.run(phase(count, station, page, options, (counts, late)))
            for _ in range(options.rounds)
            for count in (0, options.tablets)
        ]
        report(phases, station, counts, late)
        print(f"load of the computer: {os.getloadavg()}")


if __name__ == "__main__":
    main()
