"""The certificate of a set-up: what was proven, on which parts, in which time. A page writes it, nothing reads it back
to decide anything."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.config.station import StationConfig
from edge.core.files import write_atomically
from edge.core.types import Reason, Verdict
from edge.exchange.health import DryPart, Health

GOODS = 10  # parts of a dry run
BADS = 1


def certificate_path(config: StationConfig, recipe: str) -> Path:
    """Return the file of the last certificate of a recipe."""
    return config.page_dir / f"certificate-{recipe}.json"


def read_certificate(config: StationConfig, recipe: str) -> dict[str, Any] | None:
    """Return the last certificate of a recipe; None where there is none, or none that can be read."""
    try:
        found = json.loads(certificate_path(config, recipe).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def unproven(health: Health, goods: Sequence[int], bads: Sequence[int], moving: Sequence[str]) -> list[str]:
    """Return what is not proven yet, in words; nothing: the certificate may be written.

    goods, bads: ids of parts of the dry run of which the engineer says so. moving: names of the outputs that move
    parts.
    """
    found = health.commissioning
    if found is None:
        return ["the set-up has not begun"]
    lacks = []
    if health.commissioned is not True:
        lacks.append("no baseline is stored for this recipe")
    test = health.self_test
    if test is None or not test.passed:
        lacks.append("the self-test has not passed")
    if found.baseline_at is not None and test is not None and test.at < found.baseline_at:
        lacks.append("the self-test is older than the baseline")
    for name in moving:
        tried = {one.verdict for one in found.by_hand if one.output == name}
        if not {*Verdict, None} <= tried:
            lacks.append(f"output {name}: OK, NG, ERROR and the safe state have not all been set by hand")
    return lacks + _dry_run(found.trials, goods, bads)


def _dry_run(trials: Sequence[DryPart], goods: Sequence[int], bads: Sequence[int]) -> list[str]:
    lacks = []
    known = {trial.id: trial for trial in trials}
    unknown = sorted((set(goods) | set(bads)) - set(known))
    if unknown:
        lacks.append(f"part {unknown[0]} is not one of this dry run")
    if both := sorted(set(goods) & set(bads)):
        lacks.append(f"part {both[0]} cannot be good and bad")
    if len(set(goods)) < GOODS or len(set(bads)) < BADS:
        lacks.append(f"{len(set(goods))} good and {len(set(bads))} bad parts were shown; {GOODS} and {BADS} are needed")
    for ids, verdict, kind in ((goods, Verdict.OK, "good"), (bads, Verdict.NG, "bad")):
        shown = [known[number] for number in ids if number in known]
        wrong = [one for one in shown if (one.would, one.reason) != (verdict, Reason.SCORE)]
        lacks += [f"part {one.id} is {kind}, and would be {one.would}/{one.reason}" for one in wrong]
    return lacks


def store_certificate(
    config: StationConfig, health: Health, who: str, goods: Sequence[int], bads: Sequence[int]
) -> dict[str, Any]:
    """Write the certificate of a set-up and return it; raises OSError."""
    found = health.commissioning
    assert found is not None  # noqa: S101  # unproven() said so
    chosen = [trial for trial in found.trials if trial.id in {*goods, *bads}]
    times = sorted(trial.total_ms for trial in chosen)
    facts = {
        "station": health.station,
        "recipe": health.recipe,
        "bundle": health.bundle,
        "signed_by": health.signed_by,
        "camera": health.camera,
        "trigger": health.trigger,
        "cpu": health.cpu_tier,
        "runtime": health.runtime,
        "threshold": health.threshold,
        "who": who,
        "begun": found.since.isoformat(timespec="seconds"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "baseline": found.baseline_detail or "of an earlier set-up",
        "self_test": None if health.self_test is None else health.self_test.at.isoformat(timespec="seconds"),
        "goods": sorted(goods),
        "bads": sorted(bads),
        "outputs": [one.model_dump(mode="json") for one in found.by_hand],
        "latency_ms": {"n": len(times), "median": statistics.median(times), "max": times[-1]},
        "deadline_ms": health.deadline_ms,
    }
    body = json.dumps(facts, indent=1).encode()
    write_atomically(certificate_path(config, health.recipe or "default"), body + b"\n")
    return facts
