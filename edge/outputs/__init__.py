"""The Output port: how the line is told. Every output rejects until it is told OK."""

from __future__ import annotations

from typing import Protocol

from edge.types import EdgeError, Inspection


class OutputError(EdgeError):
    """The line could not be told."""


class Output(Protocol):
    """One way to the line; in its safe state (reject) from construction on."""

    def show(self, inspection: Inspection) -> None:
        """Tell the verdict of one part; only Verdict.OK releases it. Raises OutputError."""

    def safe(self) -> None:
        """Reject, whatever was told before: at start, stop and every fault."""

    def close(self) -> None:
        """Go safe, then let go of the device."""
