"""The workstation's side: from a folder of photographs to a bundle. Nothing on the device imports this package."""


class TrainError(Exception):
    """Root of every error that a training stage reports to a person; each line states one fact and its remedy."""
