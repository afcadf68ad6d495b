"""How long do the page's answers take over a long history?

`python -m tests.edge.web.million [--rows 1000000] [--times 7]`: writes a history of two parts a second up to now, with
the pictures of the last ones and answers of people, through the code that a station runs. Then it asks Flask's test
client for what the page shows, and prints the wall time and the CPU time of this process, as a table.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from flask.testing import FlaskClient

from edge.core.types import Inspection, Reason, Region, Timings, Verdict
from edge.history.eventlog import EventLog
from edge.history.orders import ORDERS, OrderStore
from edge.history.pictures import picture_path
from edge.history.reviews import Draft, Opinion, Origin, ReviewStore
from edge.history.rows import timestamp
from edge.web.server import create_app
from tests.edge.web.standin import TYPICAL, StandIn, encoded, part_image
from tests.tiny import THRESHOLD, write_tiny_bundle

RATE_HZ = 2.0
BATCH = 5000  # rows of one transaction
PICTURED = 20_000  # of the last rows
LABELS = ("anomaly", "scratch", "stain")


def rows(count: int, bundle: str, end: datetime) -> Iterator[Inspection]:
    """Yield rows of which 3 % are NG, more and more of them, and 1 % ERROR."""
    rng = np.random.default_rng(7)
    scores, kinds, totals = rng.gamma(9.0, 1.8, count), rng.random(count), 9.0 + rng.gamma(2.0, 3.0, count)
    for index in range(count):
        kind, number = kinds[index], index + 1
        verdict, reason, total_ms = Verdict.OK, Reason.SCORE, float(totals[index])
        if kind < 0.01:
            verdict, reason, total_ms = Verdict.ERROR, Reason.LATE, 100.0 + total_ms
        elif kind < 0.02 + 0.04 * index / count or scores[index] >= THRESHOLD:
            verdict = Verdict.NG
        region = Region(160, 120, 120, 90, 7200, 69.9, LABELS[number % len(LABELS)])
        yield Inspection(
            number, end - timedelta(seconds=(count - index) / RATE_HZ), f"free-{number}", verdict, reason, "",
            float(scores[index]) + 60.0 * (verdict is Verdict.NG), THRESHOLD, 0.5,
            (region,) if verdict is Verdict.NG else (), bundle, Timings(2.1, 1.2, 6.4, 0.3, 0.1, total_ms),
            typical=TYPICAL,
        )  # fmt: skip


def write_history(station: StandIn, count: int, answers: int) -> None:
    """Store the rows, the pictures of the last ones, some answers, and an order of four days."""
    end, batch = datetime.now(UTC), list[Inspection]()
    with closing(EventLog(station.config.events_db)) as log:
        for row in rows(count, station.bundle.title, end):
            batch.append(row)
            if len(batch) == BATCH or row.id == count:
                log.append(*batch)
                station.last, batch = batch[-1], []
        kept = range(max(1, count - PICTURED), count + 1)
        hashes = {number: log.hash_of(number) for number in kept[:: max(1, len(kept) // answers)]}
    one = station.config.state_dir / "part.jpg"
    one.write_bytes(encoded(part_image()))
    for number in kept:
        for kind in ("frame", "heat", "thumb"):
            path = picture_path(station.config.images_dir, number, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(one)
    with closing(ReviewStore(station.config.page_dir)) as store:
        for number, known in hashes.items():
            opinion = Opinion.BAD if number % 5 == 0 else Opinion.GOOD
            store.add(Draft(number, known or "", opinion, Origin.LIMIT, "Anna"), None)
    OrderStore(station.config.page_dir).close()
    with closing(sqlite3.connect(station.config.page_dir / ORDERS)) as orders, orders:
        for days, name in ((5, "4711"), (1, "4712")):
            at = timestamp(end - timedelta(days=days))
            orders.execute("INSERT INTO orders (at, who, name) VALUES (?, 'Anna', ?)", (at, name))


def questions(count: int) -> dict[str, str]:
    """Return what is asked, by its name."""
    now, day = datetime.now(UTC), timedelta(days=1)
    middle = now - timedelta(seconds=count / RATE_HZ / 2)

    def of(path: str, start: datetime, end: datetime, **more: str) -> str:
        return f"{path}?{urlencode({'from': start.isoformat(), 'to': end.isoformat(), **more})}"

    return {
        "`/api/inspections?limit=24`": "/api/inspections?limit=24",
        "the same, of verdict NG": "/api/inspections?limit=24&verdict=NG",
        "the same, of reason late": "/api/inspections?limit=24&reason=late",
        "the same, NG of a day, from the middle": of(
            "/api/inspections", middle, middle + day, limit="24", verdict="NG"
        ),
        "the page of one part": f"/inspections/{count // 2}",
        "`/api/report`, 8 h": "/api/report",
        "`/api/report`, 30 days": of("/api/report", now - 30 * day, now),
        "`/api/report`, 30 days, of verdict NG": of("/api/report", now - 30 * day, now, verdict="NG"),
        "the page `/history`": "/history",
        "`/api/shift`": "/api/shift",
        "`/api/shift` of a day ago": f"/api/shift?{urlencode({'at': (now - day).isoformat()})}",
        "`/api/shift?order=` over four days": "/api/shift?order=4711",
        "the page `/shift`": "/shift",
        "`/api/reviews/queue`": "/api/reviews/queue",
        "`/api/reviews`": "/api/reviews",
        "`/api/limit`": "/api/limit",
        "`/api/status`": "/api/status",
        "the page `/`": "/",
    }


def timed(ask: Callable[[], object], times: int) -> tuple[list[float], list[float]]:
    """Return the wall and CPU times of some calls, in ms."""
    wall, cpu = [], []
    for _ in range(times):
        began, busy = time.perf_counter(), time.process_time()
        ask()
        wall.append(1e3 * (time.perf_counter() - began))
        cpu.append(1e3 * (time.process_time() - busy))
    return wall, cpu


def measure(station: StandIn, client: FlaskClient, path: str, times: int) -> str:
    """Return the cells of one row: medians and the longest."""

    def ask() -> None:
        with client.get(path) as answer:
            assert answer.status_code == 200, (path, answer.text[:200])
            answer.get_data()

    station.health()  # its word is young for long enough: each answer is asked for within a second
    cells = []
    for found in timed(lambda: (station.health(), ask()), times):
        cells += [f"{statistics.median(found):.3g}", f"{max(found):.3g}"]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--answers", type=int, default=300)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        station = StandIn(folder / "station", write_tiny_bundle(folder / "bundle", folder / "work"))
        began = time.monotonic()
        write_history(station, options.rows, options.answers)
        print(f"{options.rows:,} rows in {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        client = create_app(station.config).test_client()
        print("| what | median, ms | longest, ms | median, CPU ms | longest, CPU ms |\n|---|---|---|---|---|")
        for what, path in questions(options.rows).items():
            print(f"| {what} | {measure(station, client, path, options.times)} |", flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
