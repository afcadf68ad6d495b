"""Pure: how sure is it that one latency is another? Medians of blocks, resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long as before: the estimate, and the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float


def block_medians(values: Sequence[float], block: int) -> list[float]:
    """The median of each so many values in a row; what is left over joins the last block."""
    starts = range(0, max(len(values) - block + 1, 1), block)
    ends = [*starts[1:], len(values)]
    return [float(np.median(values[start:end])) for start, end in zip(starts, ends, strict=True)]


def ratio(new: Sequence[float], old: Sequence[float], seed: int = 0) -> Ratio:
    """Median of new over median of old, both given as medians of blocks, with its percentile bootstrap interval.

    Neighbouring parts are alike (clock, caches, what else runs), so whole blocks are drawn, not parts (Künsch, "The
    jackknife and the bootstrap for general stationary observations", 1989). It tells of the noise within the runs; what
    differs between two runs, it cannot see.
    """
    rng = np.random.default_rng(seed)

    def drawn(blocks: Sequence[float]) -> NDArray[np.float64]:
        samples = rng.choice(np.asarray(blocks, np.float64), (RESAMPLES, len(blocks)))
        return np.asarray(np.median(samples, axis=1), np.float64)

    low, high = np.quantile(drawn(new) / drawn(old), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(float(np.median(new) / np.median(old)), float(low), float(high))
