"""Attacks by a disk that is full: first for pictures, then for everything."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.commands.acceptance.station import (
    EngineProcess,
    TrialStation,
    broken_sequence,
    happens,
    inspecting,
    unrecorded,
)
from edge.commands.evidence import Evidence
from edge.exchange.trigger_socket import TriggerAnswer
from edge.inference.bundle import Bundle

NAME = "disk full"
OTHER = "of somebody else"
DISK_MB = 24
KEPT_FREE_MB = 4
MOST_PARTS = 2000  # after which a disk without any room must have ended the engine


def disk(evidence: Evidence, bundle: Bundle, folder: Path) -> None:
    """Mount a small disk below state_dir and fill it as another program would."""
    station = TrialStation(folder, bundle, storage={"max_image_mb": 1000, "keep_free_mb": KEPT_FREE_MB})
    with _small_disk(station.config.state_dir) as refusal:
        if refusal:
            evidence.skip(NAME, f"needs a small disk of its own; run it as root ({refusal})")
            return
        with inspecting(station) as engine:
            told = _no_room_for_pictures(evidence, station)
            told += _no_room_at_all(evidence, station, engine)
        _goes_on(evidence, station, told)


@contextmanager
def _small_disk(folder: Path) -> Iterator[str]:
    """Mount a tmpfs; gives the reason when that is refused, else an empty string."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "linewatch-proof", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        refusal = done.stderr.strip() or ("" if done.returncode == 0 else "mount failed")
    except FileNotFoundError:
        refusal = "there is no mount command"
    try:
        yield refusal
    finally:
        if not refusal:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> bool:
    """Let another program's file grow until so many bytes are left."""
    with suppress(OSError), (folder / OTHER).open("ab", buffering=0) as stream:
        while shutil.disk_usage(folder).free > leave:
            stream.write(b"x" * 4096)
    return True


def _no_room_for_pictures(evidence: Evidence, station: TrialStation) -> list[TriggerAnswer]:
    def fault() -> str:
        health = station.health()
        return (health.storage_fault or "") if health else ""

    def part() -> bool:
        answers.extend(station.triggers(1))
        return True

    answers = station.triggers(20)
    disk = station.config.state_dir
    shown = happens(
        lambda: part() and _fill(disk, KEPT_FREE_MB * 1_000_000 // 2) and fault()
    )  # what thinning frees, too
    seen = fault()
    answers += station.triggers(30)
    (disk / OTHER).unlink()
    gone = happens(lambda: part() and not fault())
    recorded = happens(lambda: not unrecorded(answers, station.rows()))
    evidence.hold(
        f"{NAME}: rows go on, pictures stop, the fault is shown, and all comes back with the space",
        shown and gone and recorded and len(station.rows()) == len(answers),
        f"{len(answers)} verdicts told, {len(station.rows())} rows; {seen or 'no fault was shown'}",
    )
    return answers


def _no_room_at_all(evidence: Evidence, station: TrialStation, engine: EngineProcess) -> list[TriggerAnswer]:
    """Fill the disk after every part: pictures give way to rows, and without room no part is judged without a row."""
    answers: list[TriggerAnswer] = []
    for _ in range(MOST_PARTS):
        _fill(station.config.state_dir, 0)
        answer = station.trigger()
        if answer is None:
            break
        answers.append(answer)
    ended = happens(lambda: engine.process.poll() is not None)
    last = station.said().splitlines()[-1]
    evidence.hold(
        f"{NAME} to the last byte: pictures go for rows, then the engine stops safely and says why",
        ended and engine.process.returncode == 1 and "full" in last and "outputs safe" in station.said(),
        f"{len(answers)} parts judged meanwhile; {last}",
    )
    return answers


def _goes_on(evidence: Evidence, station: TrialStation, told: list[TriggerAnswer]) -> None:
    (station.config.state_dir / OTHER).unlink()
    with inspecting(station) as engine:
        told = [*told, *station.triggers(10)]
        status = engine.stop()
    rows = station.rows()
    wrong = broken_sequence(rows) or station.verify()
    missing = unrecorded(told, rows)
    evidence.hold(
        f"{NAME}, then space again: it starts, every verdict told is accounted for, sequence and chain unbroken",
        status == 0 and not wrong and not missing,
        wrong or f"{len(told)} verdicts told, {len(missing)} missing, {len(rows)} rows",
    )
