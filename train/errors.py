"""The root of every error a training stage reports to a person."""

from __future__ import annotations


class TrainError(Exception):
    """A stage cannot go on; each line of the message states one fact and its remedy."""
