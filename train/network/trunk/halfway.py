"""Half of what was known and half of what was learned: the mean of a network's weights before and after training."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def halfway(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of two states of one network, key by key; what is counted, not measured, is as it was after.

    Weights that were tuned from the same ones lie in one valley of the loss, so that their mean is a network, too. It
    keeps more of what the first one tells on parts that the tuning never saw (Wortsman et al. 2022, WiSE-FT).
    """
    return {
        key: (before[key] + value) / 2 if value.is_floating_point() else value.clone() for key, value in after.items()
    }
