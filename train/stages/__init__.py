"""The stages of training: one artefact in, one artefact out, a JSON report beside it. A stage is no library."""

from train import TrainError


class StageError(TrainError):
    """A stage that cannot do what was asked of it; each line states one fact and its remedy."""
