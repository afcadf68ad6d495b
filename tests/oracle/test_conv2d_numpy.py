"""The oracle's own arithmetic against torch: every shape, stride, padding and group."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from timm.layers import Conv2dSame
from torch.nn import functional as F

from tests.oracle.conv2d_numpy import Padding, average_pool2d, conv2d, max_pool2d, same_padding

TOLERANCE = 1e-5
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.tuples(*[st.integers(0, 2)] * 4)


def picture(seed: int, channels: int, batch: int = 2, side: int = 9) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(batch, channels, side, side - 1))


def padded(x: NDArray[np.float64], padding: Padding, value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = padding
    return F.pad(torch.from_numpy(x), (left, right, top, bottom), value=value)


@given(st.integers(0, 99), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), pairs, pairs, paddings)
@settings(max_examples=60)
def test_convolution_is_torchs(seed, groups, share_in, share_out, kernel, stride, padding):
    x = picture(seed, groups * share_in)
    rng = np.random.default_rng(seed + 1)
    weight = rng.normal(size=(groups * share_out, share_in, *kernel))
    bias = rng.normal(size=groups * share_out)
    theirs = F.conv2d(padded(x, padding), torch.from_numpy(weight), torch.from_numpy(bias), stride, groups=groups)
    np.testing.assert_allclose(conv2d(x, weight, bias, stride, padding, groups), theirs.numpy(), atol=TOLERANCE)


@given(st.integers(0, 99), pairs, pairs, paddings)
@settings(max_examples=40)
def test_maximum_is_torchs(seed, kernel, stride, padding):
    x = picture(seed, 2)
    theirs = F.max_pool2d(padded(x, padding, -np.inf), kernel, stride)
    np.testing.assert_allclose(max_pool2d(x, kernel, stride, padding), theirs.numpy(), atol=TOLERANCE)


@given(st.integers(0, 99), st.integers(1, 3), pairs, st.booleans())
@settings(max_examples=40)
def test_average_is_torchs(seed, kernel, stride, count_include_pad):
    x, edge = picture(seed, 2), kernel // 2
    theirs = F.avg_pool2d(torch.from_numpy(x), kernel, stride, edge, count_include_pad=count_include_pad)
    ours = average_pool2d(x, (kernel, kernel), stride, (edge,) * 4, count_include_pad)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=TOLERANCE)


@given(st.integers(0, 99), st.integers(5, 12), st.sampled_from([1, 3, 5]), st.integers(1, 2))
@settings(max_examples=40)
def test_tensorflows_padding_is_timms(seed, side, kernel, stride):
    x = np.random.default_rng(seed).normal(size=(1, 2, side, side))
    layer = Conv2dSame(2, 3, kernel, stride, bias=False).double()
    (top, bottom), (left, right) = (same_padding(side, kernel, stride),) * 2
    ours = conv2d(x, layer.weight.detach().numpy(), None, (stride, stride), (top, left, bottom, right))
    np.testing.assert_allclose(ours, layer(torch.from_numpy(x)).detach().numpy(), atol=TOLERANCE)


def test_symmetric_padding_is_told_from_tensorflows():
    x = np.random.default_rng(0).normal(size=(1, 1, 8, 8))
    weight = np.random.default_rng(1).normal(size=(1, 1, 3, 3))
    first, last = same_padding(8, 3, 2)
    assert (first, last) == (0, 1)
    symmetric = conv2d(x, weight, None, (2, 2), (1, 1, 1, 1))
    same = conv2d(x, weight, None, (2, 2), (first, first, last, last))
    assert symmetric.shape == same.shape
    assert np.abs(symmetric - same).max() > 1.0
