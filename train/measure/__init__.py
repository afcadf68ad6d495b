"""How well a model inspects, and the threshold that it ships with: figures, with their uncertainty."""

from train import TrainError


class MeasureError(TrainError):
    """Scores or images that nothing can be measured on."""
