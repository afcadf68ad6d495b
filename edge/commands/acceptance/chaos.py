"""`edge chaos`: break a real engine in every way that is possible from outside, and prove what must hold after it."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.commands import CommandError
from edge.commands.acceptance.attacks import ATTACKS
from edge.commands.acceptance.station import EngineProcess, TrialStation, broken_sequence, unrecorded
from edge.commands.evidence import Evidence, Plot, prove, say
from edge.config.station import ConfigError
from edge.core.types import Reason
from edge.exchange.trigger_socket import TriggerAnswer
from edge.inference.bundle import Bundle, open_bundle

LONGEST_LIFE_S = 1.5  # of an engine after READY, until it is killed
STARTING_S = 1.0  # of one that is killed while it starts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how many times kill -9 (200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments of the kills (0)")
    parser.add_argument("--page", type=Path, default=Path("evidence/chaos.html"), metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    """Write the evidence and print one line; raises CommandError when a property failed."""
    if not 1 <= arguments.kills <= 100_000:
        raise ConfigError("chaos takes 1 to 100000 --kills")
    return prove(lambda: chaos(arguments.bundle, arguments.kills, arguments.page, arguments.seed), arguments.page)


def chaos(bundle_path: Path, kills: int, page: Path, seed: int = 0) -> Evidence:
    """Run every attack and write the evidence, which is returned.

    Raises BundleError for the bundle, CommandError when the engine does not start at all, OSError for the page.
    """
    bundle = open_bundle(bundle_path)
    evidence = Evidence("Chaos: one accountable verdict per part, whatever breaks", bundle.title)
    evidence.facts["kills"] = f"{kills} times SIGKILL at random points, seed {seed}"
    with tempfile.TemporaryDirectory(prefix="linewatch-chaos-") as folder:
        say(f"kill -9, {kills} times")
        _kills(evidence, bundle, Path(folder) / "kills", kills, random.Random(seed))
        for name, attack in ATTACKS.items():
            say(name)
            try:
                attack(evidence, bundle, Path(folder) / attack.__name__)
            except CommandError as error:  # the page still tells of the others
                evidence.hold(name, False, str(error))
    evidence.write(page)
    return evidence


def _kills(evidence: Evidence, bundle: Bundle, folder: Path, kills: int, chance: random.Random) -> None:
    """Kill an engine again and again while a line triggers as fast as it is answered."""
    station, answers = TrialStation(folder, bundle), list[TriggerAnswer]()
    unready, starts_s = 0, list[tuple[float, float]]()
    for number in range(kills):
        with EngineProcess(station) as engine:
            began = time.monotonic()
            if number % 10 == 9:  # every tenth dies while it starts
                unready += not engine.ready(chance.uniform(0.0, STARTING_S))
            else:
                engine.ready()
                starts_s.append((float(number), time.monotonic() - began))
                answers += _lives(station, engine, chance.uniform(0.0, LONGEST_LIFE_S))
            engine.kill()
        if wrong := station.verify() if station.config.events_db.exists() else "":
            evidence.hold("kill -9: the database is whole after every kill", False, f"after kill {number + 1}: {wrong}")
            return
    with EngineProcess(station) as engine:
        engine.ready()
        answers += station.triggers(10)
        status = engine.stop()
    _judge_kills(evidence, station, answers, kills, unready, status)
    evidence.plots.append(Plot("Start until READY, by kill", "s", starts_s))


def _lives(station: TrialStation, engine: EngineProcess, seconds: float) -> list[TriggerAnswer]:
    """Trigger for so many seconds of an engine's life, then kill it; returns the answers that came."""

    def ask() -> Iterator[TriggerAnswer]:
        while (answer := station.trigger()) is not None:
            yield answer

    with ThreadPoolExecutor(max_workers=1) as line:
        told = line.submit(lambda: list(ask()))
        time.sleep(seconds)
        engine.kill()
        return told.result()


def _judge_kills(
    evidence: Evidence, station: TrialStation, answers: list[TriggerAnswer], kills: int, unready: int, status: int
) -> None:
    rows = station.rows()
    died = [row.id for row in rows if row.reason is Reason.ENGINE_DIED]
    told = [answer.id for answer in answers]
    lost = unrecorded(answers, rows)
    evidence.hold(
        "kill -9: the database is whole after every kill (integrity and chain)",
        not station.verify(),
        station.verify() or f"{kills} kills, {unready} of them before READY; {len(rows)} rows verified",
    )
    evidence.hold(
        "kill -9: the sequence has no hole and no repeat",
        not broken_sequence(rows),
        broken_sequence(rows) or f"1 to {len(rows)}",
    )
    evidence.hold(
        "kill -9: every verdict that the line was told is in the history",
        not lost and bool(told),
        f"{len(told)} verdicts told, {len(died)} ids accounted for as ERROR/engine_died"
        + (f"; lost {lost}" if lost else ""),
    )
    evidence.hold("kill -9: no id was told twice", len(set(told)) == len(told), f"{len(told)} ids")
    evidence.hold("after the last kill it starts and stops as usual", status == 0, f"status {status}")
