"""The measures of a model with their uncertainty, and the threshold that it ships with."""

from train import TrainError


class MeasureError(TrainError):
    """Scores or images that nothing can be measured on."""
