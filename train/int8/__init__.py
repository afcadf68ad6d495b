"""The INT8 files: how they are made, and the proof that they are what they say."""

from train import TrainError


class Int8Error(TrainError):
    """An INT8 file that is not what it says, or cannot be made or measured."""
