"""Three ways to derive an activation's INT8 range from the values seen, set on a graph before it is observed."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

Observer = Literal["minmax", "percentile", "kl"]
QUANTILE = 0.9999  # of an image's values; the rest is clipped
SAMPLE = 100_000  # values of a tensor the quantile is estimated from


def observe(prepared: GraphModule, observer: Observer) -> None:
    """Replace the quantiser's moving averages.

    A moving average forgets slowly: after a hundred images its range is still almost that of the first one, and what
    lies outside it is clipped, which is where defects are. minmax: the smallest and largest value seen. percentile: the
    smallest and largest of each image's 0.01 % and 99.99 % quantiles. kl: what the quantiser itself chose is left
    alone, a histogram whose clipping loses the least (Neural Compressor's act_algo="kl").
    """
    # Imported here: the package writes to the log while it is imported.
    from torchao.quantization.pt2e.observer import MinMaxObserver, MovingAverageMinMaxObserver

    class PercentileObserver(MinMaxObserver):  # type: ignore[misc]
        def forward(self, values: Tensor) -> Tensor:
            flat = values.detach().flatten()
            flat = flat[:: max(1, len(flat) // SAMPLE)]
            super().forward(torch.quantile(flat, torch.tensor([1 - QUANTILE, QUANTILE])))
            return values

    if observer == "kl":
        return
    kind: Any = PercentileObserver if observer == "percentile" else MinMaxObserver
    for name, old in list(prepared.named_children()):
        if isinstance(old, MovingAverageMinMaxObserver):
            limits = {"quant_min": old.quant_min, "quant_max": old.quant_max}
            setattr(prepared, name, kind(dtype=old.dtype, qscheme=old.qscheme, **limits))
