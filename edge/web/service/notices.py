"""Banners for everything that a person must know besides the verdict, each with an action. The worst comes first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from edge.exchange.health import Drift, Health, OutputHealth


@dataclass(frozen=True, slots=True)
class Notice:
    """One banner. Its key stays the same for as long as the cause does."""

    key: str
    level: str  # fault: act now; warning: act today; hint: good to know
    icon: str
    title: str
    text: str
    since: datetime | None = None  # UTC, shown behind the title in the reader's time

    def facts(self) -> dict[str, Any]:
        since = self.since.isoformat(timespec="seconds") if self.since else None
        return asdict(self) | {"since": since}


def notices(health: Health) -> list[Notice]:
    """Return the banners of a living engine, the worst first."""
    return [*_faults(health), *_outputs(health.outputs), *_hints(health)]


def _faults(health: Health) -> Iterator[Notice]:
    test = health.self_test
    if test is not None and not test.passed:
        yield Notice(
            "self-test",
            "fault",
            "error",
            "The self-test failed",
            _joined(test.detail, "The verdicts cannot be trusted: stop the line, call maintenance."),
            test.at,
        )
    if health.drift is not None and health.drift.alarm:
        yield _drift(health.drift)
    if health.storage_fault:
        yield Notice(
            "storage",
            "warning",
            "disk",
            "Pictures are not kept any more",
            _joined(health.storage_fault, "Every part still gets its verdict and its row. Free space on the disk."),
        )


def _drift(drift: Drift) -> Notice:
    text = (
        "Since then the good parts' scores no longer look like those the threshold was set on, so the promised "
        "false-reject rate no longer holds. Check light, focus and lens, and the next parts by hand. If they are good, "
        "have the bundle calibrated anew."
    )
    return Notice("drift", "warning", "drift", "The scores have drifted", _joined(text, drift.detail), drift.since)


def _outputs(outputs: list[OutputHealth]) -> Iterator[Notice]:
    for output in outputs:
        if not output.up:
            waits = f"{messages(output.waiting)}, sent when it is back." if output.waiting else ""
            yield Notice(
                f"output {output.name}",
                "warning",
                "unlinked",
                f"No connection to {output.name}",
                _joined(output.detail, waits, "Check its power, network and address."),
            )


def _hints(health: Health) -> Iterator[Notice]:
    if health.bundle_change:
        yield Notice(
            "bundle",
            "hint",
            "hint",
            "Another bundle judges",
            _joined(health.bundle_change, "Nothing is to be done where this change was meant."),
        )
    if health.unsigned:
        yield Notice(
            "unsigned",
            "hint",
            "hint",
            "The bundle is not signed",
            "Nobody proves where this model and its threshold come from: whoever can write its folder can change what "
            'passes. Station.toml takes such bundles (bundle_signatures = "optional"), which is right for a trial. '
            "Have the bundle signed, install it, and remove that line.",
        )
    if health.commissioned is False:
        yield Notice(
            "commission",
            "hint",
            "hint",
            "Not commissioned",
            "Focus, light and position of the picture are not compared with a baseline, so a camera that has moved is "
            "not noticed. Put good parts in view and run `edge commission`.",
        )


def messages(count: int) -> str:
    return "1 message waits" if count == 1 else f"{count} messages wait"


def _joined(*parts: str) -> str:
    """Join sentences in one line; a sentence of the engine may lack its capital and its full stop."""
    found = [part.strip() for part in parts if part.strip()]
    ended = (part if part.endswith((".", "!", "?")) else f"{part}." for part in found)
    return " ".join(part[0].upper() + part[1:] for part in ended)
