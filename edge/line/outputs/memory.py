"""An output without wires: for the demo, for tests, and for stations that only watch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from math import inf
from typing import Literal

from edge.core.types import Inspection, Verdict
from edge.line.outputs import Output

log = logging.getLogger(__name__)


class MemoryOutput(Output):
    """An output that remembers what the line was told."""

    name = "memory"

    def __init__(self) -> None:
        self.line: Literal["release", "reject"] = "reject"
        self.counts: Counter[Verdict] = Counter()
        self.last_id = 0
        self.overruns = 0

    def show(self, inspection: Inspection, until: float = inf) -> float:
        told_at = time.monotonic()
        self.line = "release" if inspection.verdict is Verdict.OK and told_at <= until else "reject"
        self.counts[inspection.verdict] += 1
        self.told += 1
        self.last_id = inspection.id
        return told_at

    def by_hand(self, verdict: Verdict) -> None:
        self.line = "release" if verdict is Verdict.OK else "reject"

    def safe(self) -> None:
        self.line = "reject"

    def ready(self, accepts: bool) -> None:
        if not accepts:
            self.line = "reject"

    def passed(self) -> None:
        self.line = "reject"

    def beat(self, overruns: int) -> None:
        self.overruns = overruns

    def close(self) -> None:
        super().close()
        log.info("outputs safe: reject")
