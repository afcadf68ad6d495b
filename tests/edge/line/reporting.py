"""An output that reports, with a history that stores each row right after it was told, as the recorder does."""

from __future__ import annotations

from math import inf
from pathlib import Path

from edge.core.types import Inspection
from edge.history.eventlog import EventLog
from edge.line.outputs.delivery import Carrier, Delivery
from edge.line.outputs.outbox import Outbox


class Reporter(Delivery):
    """A station's report to one receiver, with everything in one folder."""

    def __init__(self, carrier: Carrier, folder: Path) -> None:
        self.log = EventLog(folder / "events.db")
        super().__init__(carrier, outbox(folder))

    def show(self, inspection: Inspection, until: float = inf) -> float:
        told_at = super().show(inspection, until)
        self.log.append(inspection)
        return told_at

    def close(self) -> None:
        super().close()
        self.log.close()


def outbox(folder: Path) -> Outbox:
    return Outbox(folder / "outbox", folder / "events.db", "Cell 4")
