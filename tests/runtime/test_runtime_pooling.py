"""Pools against torch, windows beyond the border included."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, run_nodes

WINDOWS = [
    (kernel, stride, padding)
    for kernel, stride, padding in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2))
    if 2 * padding <= kernel
]


@pytest.fixture(scope="module")
def x():
    return floats(np.random.default_rng(0), 1, 3, 7, 10)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
def test_max_pool2d(tmp_path, x, kernel, stride, padding, ceil_mode):
    attrs = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 2, "dilation": [1, 1]}
    y = run_nodes(tmp_path, [node("y", "max_pool2d", "images", attrs | {"ceil_mode": ceil_mode})], {}, x)
    expected = F.max_pool2d(torch.tensor(x), kernel, stride, padding, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(y, expected.numpy())


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool2d_dilated_and_oblong(tmp_path, x, ceil_mode):
    attrs = {"kernel": [2, 3], "stride": [3, 2], "padding": [1, 0], "dilation": [3, 2], "ceil_mode": ceil_mode}
    y = run_nodes(tmp_path, [node("y", "max_pool2d", "images", attrs)], {}, x)
    expected = F.max_pool2d(torch.tensor(x), (2, 3), (3, 2), (1, 0), (3, 2), ceil_mode=ceil_mode)
    np.testing.assert_array_equal(y, expected.numpy())


def test_max_pool2d_keeps_nan(tmp_path, x):
    x = x.copy()
    x[0, 1, 3, 4] = np.nan
    attrs = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}
    y = run_nodes(tmp_path, [node("y", "max_pool2d", "images", attrs)], {}, x)
    np.testing.assert_array_equal(y, F.max_pool2d(torch.tensor(x), 3, 2, 1).numpy())


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), WINDOWS)
def test_avg_pool2d(tmp_path, x, kernel, stride, padding, ceil_mode, count_include_pad):
    attrs = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 2, "ceil_mode": ceil_mode}
    attrs |= {"count_include_pad": count_include_pad}
    y = run_nodes(tmp_path, [node("y", "avg_pool2d", "images", attrs)], {}, x)
    expected = F.avg_pool2d(torch.tensor(x), kernel, stride, padding, ceil_mode, count_include_pad)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sides", [(1, 1), (1, 4), (3, 1)])
@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
def test_a_window_wider_than_the_map_in_ceil_mode(tmp_path, op, sides):
    x = floats(np.random.default_rng(1), 1, 3, *sides)
    attrs = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0], "ceil_mode": True}
    attrs |= {"dilation": [1, 1]} if op == "max_pool2d" else {"count_include_pad": True}
    y = run_nodes(tmp_path, [node("y", op, "images", attrs)], {}, x)
    expected = getattr(F, op)(torch.tensor(x), 2, 2, ceil_mode=True)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-6)


def test_global_avg_pool(tmp_path, x):
    y = run_nodes(tmp_path, [node("y", "global_avg_pool", "images")], {}, x)
    np.testing.assert_allclose(y, F.adaptive_avg_pool2d(torch.tensor(x), 1).numpy(), rtol=1e-6, atol=1e-6)
