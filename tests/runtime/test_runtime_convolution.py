"""Float layers against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, run_nodes


@pytest.mark.parametrize("channels", [1, 3, 33])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [((3, 3), (1, 1), (1, 1), (1, 1)), ((1, 1), (2, 2), (0, 0), (1, 1)), ((3, 5), (2, 1), (0, 3), (2, 1))],
)
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d(tmp_path, channels, kernel, stride, padding, dilation, bias):
    rng = np.random.default_rng(0)
    x, w, b = floats(rng, 2, channels, 9, 11), floats(rng, 6, channels, *kernel), floats(rng, 6)
    attrs = {"stride": [*stride], "padding": [*padding], "dilation": [*dilation], "groups": 1}
    names = {"weight": "w", "bias": "b"} if bias else {"weight": "w"}
    y = run_nodes(tmp_path, [node("y", "conv2d", "images", attrs, **names)], {"w": w} | ({"b": b} if bias else {}), x)
    expected = F.conv2d(
        torch.tensor(x), torch.tensor(w), torch.tensor(b) if bias else None, stride, padding, dilation
    ).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("channels", "outputs", "groups"), [(6, 4, 2), (5, 5, 5), (4, 12, 4)])
def test_conv2d_groups(tmp_path, channels, outputs, groups):
    rng = np.random.default_rng(0)
    x, w = floats(rng, 1, channels, 6, 5), floats(rng, outputs, channels // groups, 3, 3)
    attrs = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": groups}
    y = run_nodes(tmp_path, [node("y", "conv2d", "images", attrs, weight="w")], {"w": w}, x)
    expected = F.conv2d(torch.tensor(x), torch.tensor(w), padding=1, groups=groups).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_flatten_then_linear(tmp_path, bias):
    rng = np.random.default_rng(0)
    x, w, b = floats(rng, 2, 3, 4, 5), floats(rng, 7, 60), floats(rng, 7)
    names = {"weight": "w", "bias": "b"} if bias else {"weight": "w"}
    nodes = [node("flat", "flatten", "images"), node("y", "linear", "flat", **names)]
    y = run_nodes(tmp_path, nodes, {"w": w} | ({"b": b} if bias else {}), x)
    expected = F.linear(torch.tensor(x).flatten(1), torch.tensor(w), torch.tensor(b) if bias else None).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
