"""Private keys, which never come near a station, and what they sign."""

from train import TrainError


class SigningError(TrainError):
    """A key cannot be used, or a bundle cannot be signed."""
