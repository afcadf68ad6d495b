"""A plain classifier of pictures: small networks for small devices, trained on folders of classes or on CIFAR-10."""

from train.peers import PeersError


class ClassifierError(PeersError):
    """Pictures or settings that no classifier can be trained with; each line states one fact and its remedy."""
