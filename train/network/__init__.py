"""The network: a backbone, the memory bank of normal patches, and the heads that learn from defects."""

from train import TrainError


class NetworkError(TrainError):
    """A network that cannot be built, trained or read."""
