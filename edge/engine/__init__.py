"""One trigger becomes exactly one verdict, for as long as the engine runs."""

from edge.core.types import EdgeError


class EngineError(EdgeError):
    """The engine cannot start, cannot go on, or refuses what it is asked; the message says why."""
