"""The files and the socket in run_dir through which the engine and the page talk: health, requests, the trigger."""

from edge.core.types import EdgeError


class ExchangeError(EdgeError):
    """The other side is not there, does not answer, or refuses; the message says which."""
