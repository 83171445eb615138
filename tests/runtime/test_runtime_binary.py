"""Sign and binary layers against torch's convolution of ±1 values: integers, so equality is exact."""

import naive
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, open_graph, pack_weight, run_nodes, signs

from bnn_tasks.runtime.format import Graph

CHANNELS = [1, 3, 31, 33, 63, 64, 65, 100]


def torch_accumulate(x, w, stride, padding, dilation, groups, pad_value):
    """Accumulators of x (N, C, H, W) ±1 by torch, float64."""
    padded = F.pad(torch.tensor(x).double(), (padding[1], padding[1], padding[0], padding[0]), value=float(pad_value))
    return F.conv2d(padded, torch.tensor(w).double(), None, stride, 0, dilation, groups).numpy()


def binary_attrs(channels, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, pad_value=0):
    return {
        "channels": channels,
        "kernel": [*kernel],
        "stride": [*stride],
        "padding": [*padding],
        "dilation": [*dilation],
        "groups": groups,
        "pad_value": pad_value,
    }


def binary_nodes(attrs, **tensors):
    return [
        node("bits", "sign", "images", {"groups": attrs["groups"]}),
        node("y", "binary_conv2d", "bits", attrs, **tensors),
    ]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((3, 3), (2, 2), (1, 1), (1, 1)),
        ((1, 1), (1, 1), (0, 0), (1, 1)),
        ((5, 3), (1, 3), (4, 2), (2, 1)),
        ((2, 2), (2, 2), (3, 3), (1, 1)),
    ],
)
def test_convolution(tmp_path, channels, pad_value, kernel, stride, padding, dilation):
    rng = np.random.default_rng(channels)
    x, w = signs(rng, 2, channels, 9, 7), signs(rng, 10, channels, *kernel)
    attrs = binary_attrs(channels, kernel, stride, padding, dilation, 1, pad_value)
    y = run_nodes(tmp_path, binary_nodes(attrs, weight="w"), {"w": pack_weight(w)}, x.astype(np.float32))
    np.testing.assert_array_equal(y, torch_accumulate(x, w, stride, padding, dilation, 1, pad_value))


@pytest.mark.parametrize(
    ("channels", "outputs", "groups"), [(4, 4, 2), (66, 6, 2), (130, 4, 2), (9, 9, 9), (6, 18, 6), (195, 3, 3)]
)
@pytest.mark.parametrize("pad_value", [0, 1, -1])
def test_groups(tmp_path, channels, outputs, groups, pad_value):
    rng = np.random.default_rng(channels)
    x, w = signs(rng, 1, channels, 5, 6), signs(rng, outputs, channels // groups, 3, 3)
    attrs = binary_attrs(channels, (3, 3), padding=(1, 1), groups=groups, pad_value=pad_value)
    y = run_nodes(tmp_path, binary_nodes(attrs, weight="w"), {"w": pack_weight(w)}, x.astype(np.float32))
    np.testing.assert_array_equal(y, torch_accumulate(x, w, (1, 1), (1, 1), (1, 1), groups, pad_value))


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_float_epilogue_rounds_as_two_float32_steps(tmp_path, scaled, biased):
    rng = np.random.default_rng(0)
    x, w, scale, bias = signs(rng, 1, 33, 8, 8), signs(rng, 12, 33, 3, 3), floats(rng, 12), floats(rng, 12)
    names = {"weight": "w"} | ({"scale": "s"} if scaled else {}) | ({"bias": "b"} if biased else {})
    tensors = {"w": pack_weight(w)} | ({"s": scale} if scaled else {}) | ({"b": bias} if biased else {})
    y = run_nodes(tmp_path, binary_nodes(binary_attrs(33, (3, 3)), **names), tensors, x.astype(np.float32))
    expected = torch_accumulate(x, w, (1, 1), (0, 0), (1, 1), 1, 0).astype(np.float32)
    if scaled:
        expected = expected * scale[:, None, None]
    if biased:
        expected = expected + bias[:, None, None]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(("outputs", "out_groups"), [(10, 1), (65, 1), (130, 2), (12, 3), (7, 7)])
@pytest.mark.parametrize("pad_value", [0, -1])
def test_bit_epilogue_feeds_a_grouped_layer(tmp_path, outputs, out_groups, pad_value):
    rng = np.random.default_rng(outputs)
    x, w1 = signs(rng, 1, 20, 6, 7), signs(rng, outputs, 20, 3, 3)
    w2 = signs(rng, 2 * out_groups, outputs // out_groups, 1, 1)
    threshold = rng.integers(-20, 20, outputs, dtype=np.int32)
    threshold[0], threshold[-1] = -(2**31), 2**31 - 1  # constant channels, as a fold of gamma = 0 gives
    flip = rng.integers(0, 2, outputs, dtype=np.uint8)
    first = binary_attrs(20, (3, 3), padding=(1, 1), pad_value=pad_value) | {"out_groups": out_groups}
    nodes = [
        *binary_nodes(first, weight="w1", threshold="t", flip="f"),
        node("z", "binary_conv2d", "y", binary_attrs(outputs, (1, 1), groups=out_groups), weight="w2"),
    ]
    tensors = {"w1": pack_weight(w1), "w2": pack_weight(w2), "t": threshold, "f": flip}
    graph = Graph(tuple(nodes), "z", channels=20)
    session = open_graph(tmp_path, graph, tensors)
    acc = torch_accumulate(x, w1, (1, 1), (1, 1), (1, 1), 1, pad_value)
    bits = np.where((acc >= threshold[:, None, None]) ^ (flip[:, None, None] == 1), 1, -1)
    np.testing.assert_array_equal(session.values(x[0].astype(np.float32))["y"], bits[0])
    expected = torch_accumulate(bits, w2, (1, 1), (0, 0), (1, 1), out_groups, 0)
    np.testing.assert_array_equal(session.forward(x.astype(np.float32)), expected)


@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize(("groups", "dilation"), [(1, (1, 1)), (2, (2, 1))])
def test_accumulate_against_loops(tmp_path, pad_value, groups, dilation):
    rng = np.random.default_rng(0)
    x, w = signs(rng, 6, 5, 6), signs(rng, 4, 6 // groups, 3, 3)
    attrs = binary_attrs(6, (3, 3), (2, 1), (2, 1), dilation, groups, pad_value)
    graph = Graph(tuple(binary_nodes(attrs, weight="w", scale="s")), "y", channels=6)
    session = open_graph(tmp_path, graph, {"w": pack_weight(w), "s": floats(rng, 4)})
    acc = session.accumulate("y", x)
    assert acc.dtype == np.int32
    np.testing.assert_array_equal(acc, naive.accumulate(x, w, (2, 1), (2, 1), dilation, groups, pad_value))


@pytest.mark.parametrize("features", CHANNELS)
@pytest.mark.parametrize("bits", [False, True])
def test_linear(tmp_path, features, bits):
    rng = np.random.default_rng(features)
    x, w = signs(rng, 3, features, 1, 1), signs(rng, 9, features)
    names = {"weight": "w"} | ({"threshold": "t", "flip": "f"} if bits else {"scale": "s", "bias": "b"})
    tensors = {"w": pack_weight(w)}
    if bits:
        tensors |= {"t": rng.integers(-5, 5, 9, dtype=np.int32), "f": rng.integers(0, 2, 9, dtype=np.uint8)}
    else:
        tensors |= {"s": floats(rng, 9), "b": floats(rng, 9)}
    nodes = [
        node("flat", "flatten", "images"),
        node("bits", "sign", "flat", {"groups": 1}),
        node("y", "binary_linear", "bits", {"features": features}, **names),
    ]
    session = open_graph(tmp_path, Graph(tuple(nodes), "flat" if bits else "y", channels=features), tensors)
    acc = x[:, :, 0, 0].astype(np.int64) @ w.T.astype(np.int64)
    np.testing.assert_array_equal(session.accumulate("y", x[0, :, 0, 0]), acc[0])
    if bits:
        expected = np.where((acc[0] >= tensors["t"]) ^ (tensors["f"] == 1), 1, -1)
        np.testing.assert_array_equal(session.values(x[0].astype(np.float32))["y"], expected)
    else:
        expected = acc.astype(np.float32) * tensors["s"] + tensors["b"]
        np.testing.assert_array_equal(session.forward(x.astype(np.float32)), expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_sign_at_its_thresholds(tmp_path, groups):
    thresholds = np.array([0, 0, 0.5, 1e-45, -1.5, 3, 0, 0.1], np.float32)
    above = np.nextafter(thresholds, np.float32(np.inf))
    below = np.nextafter(thresholds, np.float32(-np.inf))
    x = np.stack([thresholds, below, above, -thresholds, np.full(8, -0.0), np.full(8, np.inf)]).astype(np.float32)
    x = x.T.reshape(1, 8, 2, 3)
    graph = Graph((node("y", "sign", "images", {"groups": groups}, threshold="t"),), "images", channels=8)
    session = open_graph(tmp_path, graph, {"t": thresholds})
    expected = np.where(x[0] >= thresholds[:, None, None], 1, -1)
    np.testing.assert_array_equal(session.values(x[0])["y"], expected)


def test_sign_of_zero_is_plus_one(tmp_path):
    graph = Graph((node("y", "sign", "images", {"groups": 1}),), "images", channels=1)
    zeros = np.array([[[0.0, -0.0, 1e-45, -1e-45]]], np.float32)
    assert open_graph(tmp_path, graph, {}).values(zeros)["y"].tolist() == [[[1, 1, 1, -1]]]


def test_sign_of_nan_is_an_error_that_names_the_node(tmp_path):
    x = np.zeros((1, 3, 4, 4), np.float32)
    x[0, 1, 2, 3] = np.nan
    nodes = binary_nodes(binary_attrs(3, (1, 1)), weight="w")
    with pytest.raises(ValueError, match=r"node `bits` \(sign\).*1 values are NaN"):
        run_nodes(tmp_path, nodes, {"w": pack_weight(np.ones((1, 3)))}, x)
