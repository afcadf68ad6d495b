"""The line: how the station hears of a part and whom it tells, through triggers, outputs and a PLC's registers."""

from edge.core.types import EdgeError


class LineError(EdgeError):
    """A trigger, an output, or a device behind them cannot be had or used."""
