"""2-D convolution and pooling in plain NumPy: slow, short, and without any runtime's tricks.

Arrays are (N, C, H, W). Integers stay integers: an int64 input and int64 weights give exact sums. Padding is
(top, left, bottom, right), as ONNX orders it. Equations: Dumoulin and Visin, "A guide to convolution arithmetic for
deep learning" (2016).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.generic]
Padding = tuple[int, int, int, int]
NONE: Padding = (0, 0, 0, 0)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the pixels before and after that TensorFlow's "same" padding adds along one axis."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def windows(x: Array, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding, fill: float) -> Array:
    """Return (N, C, H', W', kh, kw): what each output pixel sees, with `fill` beyond the border."""
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, :: stride[0], :: stride[1]]


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: Padding = NONE,
    groups: int = 1,
) -> Array:
    """Return the convolution of x (N, C, H, W) with weight (O, C / groups, kh, kw), plus bias (O,)."""
    seen = windows(x, weight.shape[2:], stride, padding, 0)
    share_in, share_out = x.shape[1] // groups, weight.shape[0] // groups
    parts = []
    for group in range(groups):
        own = seen[:, group * share_in : (group + 1) * share_in]
        kernels = weight[group * share_out : (group + 1) * share_out]
        parts.append(np.einsum("nchwij,ocij->nohw", own, kernels, optimize=True))
    out = np.concatenate(parts, axis=1)
    return out if bias is None else out + bias[:, None, None]


def max_pool2d(x: Array, kernel: tuple[int, int], stride: tuple[int, int], padding: Padding = NONE) -> Array:
    """Return the maximum of each window; the padding never wins."""
    return windows(x, kernel, stride, padding, -np.inf).max(axis=(4, 5))


def average_pool2d(
    x: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding = NONE,
    count_include_pad: bool = False,
) -> Array:
    """Return the mean of each window's pixels inside the picture; with count_include_pad the padding counts as 0."""
    total = windows(x, kernel, stride, padding, 0).sum(axis=(4, 5))
    inside = windows(np.ones_like(x), kernel, stride, padding, float(count_include_pad)).sum(axis=(4, 5))
    return total / inside
