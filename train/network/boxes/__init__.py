"""Defects that are labelled by boxes: a single-stage grid detector on the project's own backbone."""

from train import TrainError


class BoxesError(TrainError):
    """Labels of boxes that cannot be used, or a detector that cannot be trained."""
