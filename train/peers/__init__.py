"""Other methods of the field beside this product's bundles: trained, run and measured alike."""

from train import TrainError


class PeersError(TrainError):
    """A comparison that cannot be made."""
