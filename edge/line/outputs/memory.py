"""An output without wires: for the demo, for tests, and for stations that only watch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from math import inf
from typing import Literal

from edge.core.types import Inspection, Verdict
from edge.line.outputs import OutputState

log = logging.getLogger(__name__)


class MemoryOutput:
    """Remembers what the line was told."""

    def __init__(self) -> None:
        self.line: Literal["release", "reject"] = "reject"
        self.counts: Counter[Verdict] = Counter()
        self.last_id = 0
        self.overruns = 0

    @property
    def reports(self) -> bool:
        return False

    def ready(self, accepts: bool) -> None:
        """Nobody waits for it."""

    def show(self, inspection: Inspection, until: float = inf) -> float:
        told_at = time.monotonic()
        self.line = "release" if inspection.verdict is Verdict.OK and told_at <= until else "reject"
        self.counts[inspection.verdict] += 1
        self.last_id = inspection.id
        return told_at

    def last_reported(self) -> int | None:
        """Nothing is kept."""
        return None

    def safe(self) -> None:
        self.line = "reject"

    def beat(self, overruns: int) -> None:
        self.overruns = overruns

    def able(self) -> None:
        """What it tells is set in memory."""

    def check(self) -> None:
        """Memory does not fail."""

    def state(self) -> OutputState:
        return OutputState("memory", told=self.counts.total())

    def close(self) -> None:
        self.safe()
        log.info("outputs safe: reject")
