"""What methods of several planes, real activations and scales of the input run on, against torch and loops."""

import naive
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, open_graph, pack_weight, run_nodes, signs

from bnn_tasks.runtime.format import Graph, Node

GEOMETRIES = [
    {},
    {"padding": [1, 1]},
    {"padding": [1, 1], "pad_value": 1, "groups": 2},
    {"padding": [1, 2], "pad_value": -1, "stride": [2, 1]},
    {"padding": [2, 2], "dilation": [2, 1], "groups": 4, "kernel": [3, 2]},
]


def windows(**given):
    plain = {"kernel": [3, 3], "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "pad_value": 0}
    return {**plain, **given}


def padded(x, attrs, value=None):
    py, px = attrs["padding"]
    return F.pad(torch.tensor(x), (px, px, py, py), value=float(attrs["pad_value"] if value is None else value))


def torch_product(x, w, attrs):
    """Convolution of a batch padded with `pad_value`, float64."""
    return F.conv2d(
        padded(x, attrs).double(),
        torch.tensor(w).double(),
        None,
        attrs["stride"],
        0,
        attrs["dilation"],
        attrs["groups"],
    ).numpy()


def torch_patches(x, attrs):
    """(N, G, n, H', W') patches of a padded batch, float64, and which taps are inside or count."""
    kernel, stride, dilation = attrs["kernel"], attrs["stride"], attrs["dilation"]
    columns = F.unfold(padded(x, attrs).double(), kernel, dilation, 0, stride)
    counts = F.unfold(padded(np.ones_like(x), attrs, abs(attrs["pad_value"])).double(), kernel, dilation, 0, stride)
    side = [
        (x.shape[2 + i] + 2 * attrs["padding"][i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    ]
    shape = (len(x), attrs["groups"], -1, *side)
    return columns.view(shape).numpy(), counts.view(shape).numpy()


@pytest.mark.parametrize("channels", [5, 64, 66])
@pytest.mark.parametrize("groups", [1, 2])
def test_ones(tmp_path, channels, groups):
    channels *= groups
    graph = Graph((node("y", "ones", "images", {"groups": groups}),), "images", channels=channels)
    session = open_graph(tmp_path, graph, {})
    x = np.full((channels, 3, 4), -np.inf, np.float32)
    np.testing.assert_array_equal(session.values(x)["y"], np.ones((channels, 3, 4)))


def test_ones_have_no_tail_bits(tmp_path):
    """A grouped layer of 33 channels would see them."""
    rng = np.random.default_rng(0)
    w = signs(rng, 4, 33, 1, 1)
    attrs = {"channels": 66, **windows(kernel=[1, 1], groups=2)}
    nodes = [node("b", "ones", "images", {"groups": 2}), node("y", "binary_conv2d", "b", attrs, weight="w")]
    y = run_nodes(tmp_path, nodes, {"w": pack_weight(w)}, floats(rng, 1, 66, 2, 2))
    np.testing.assert_array_equal(y[0, :, 0, 0], w.sum(axis=(1, 2, 3)))


def test_ones_of_a_vector(tmp_path):
    nodes = (node("flat", "flatten", "images"), node("y", "ones", "flat", {"groups": 1}))
    session = open_graph(tmp_path, Graph(nodes, "flat", channels=70), {})
    assert session.values(np.zeros((70, 1, 1), np.float32))["y"].tolist() == [1] * 70


def test_one_threshold_for_all_channels(tmp_path):
    x = floats(np.random.default_rng(0), 6, 4, 5)
    graph = Graph((node("y", "sign", "images", {"groups": 2}, threshold="t"),), "images", channels=6)
    session = open_graph(tmp_path, graph, {"t": np.array([0.3], np.float32)})
    np.testing.assert_array_equal(session.values(x)["y"], np.where(x >= np.float32(0.3), 1, -1))


@pytest.mark.parametrize("op", ["binary_conv2d", "binary_weight_conv2d", "binary_linear", "binary_weight_linear"])
def test_sums_go_on_from_the_second_input(tmp_path, op):
    """(second + sums·scale) + bias, rounded to float32 after each step."""
    rng = np.random.default_rng(0)
    linear, real = op.endswith("linear"), "weight" in op
    x = signs(rng, 1, 33, *((1, 1) if linear else (4, 5))).astype(np.float32)
    w, tensors = signs(rng, 7, 33, 1, 1), {"s": floats(rng, 7), "b": floats(rng, 7)}
    attrs = {"features": 33} if linear else {"channels": 33, **windows(kernel=[1, 1])}
    source = "flat" if linear else "images"
    nodes = [node("flat", "flatten", "images")] if linear else []
    nodes += [] if real else [node("bits", "sign", source, {"groups": 1})]
    nodes += [
        node("a", op, source if real else "bits", attrs, weight="w", scale="s"),
        node("y", op, f"{source if real else 'bits'} a", attrs, weight="w", scale="s", bias="b"),
    ]
    y = run_nodes(tmp_path, nodes, tensors | {"w": pack_weight(w)}, x)
    acc = torch_product(x, w, windows(kernel=[1, 1])).astype(np.float32)[0]
    s, b = (tensors[name][:, None, None] for name in ("s", "b"))
    np.testing.assert_array_equal(y.reshape(acc.shape), (acc * s + acc * s) + b)


@pytest.mark.parametrize("given", GEOMETRIES, ids=str)
def test_binary_weights_on_real_values(tmp_path, given):
    rng = np.random.default_rng(0)
    attrs = windows(**given)
    x, w = floats(rng, 2, 8, 7, 6), signs(rng, 8, 8 // attrs["groups"], *attrs["kernel"])
    tensors = {"w": pack_weight(w), "s": floats(rng, 8), "b": floats(rng, 8)}
    nodes = [node("y", "binary_weight_conv2d", "images", {"channels": 8, **attrs}, weight="w", scale="s", bias="b")]
    expected = torch_product(x, w, attrs) * tensors["s"][:, None, None] + tensors["b"][:, None, None]
    np.testing.assert_allclose(run_nodes(tmp_path, nodes, tensors, x), expected, rtol=1e-5, atol=1e-5)


def test_numbers_that_are_none_spread_as_in_a_convolution(tmp_path):
    rng = np.random.default_rng(0)
    x, w = floats(rng, 1, 3, 6, 6), signs(rng, 2, 3, 3, 3)
    x[0, 1, 0, 0], x[0, 2, 5, 5] = np.nan, np.inf
    attrs = windows(padding=[1, 1])
    nodes = [node("y", "binary_weight_conv2d", "images", {"channels": 3, **attrs}, weight="w")]
    y = run_nodes(tmp_path, nodes, {"w": pack_weight(w)}, x)
    np.testing.assert_allclose(y, torch_product(x, w, attrs), rtol=1e-5, atol=1e-5)
    assert np.isnan(y).any()


@pytest.mark.parametrize("given", GEOMETRIES, ids=str)
def test_window_mean(tmp_path, given):
    attrs = windows(**given)
    x = floats(np.random.default_rng(0), 2, 8, 7, 6)
    patches, _ = torch_patches(x, attrs)
    y = run_nodes(tmp_path, [node("y", "window_mean", "images", attrs)], {}, x)
    np.testing.assert_allclose(y, np.abs(patches).mean(axis=2), rtol=1e-6)


def residual(x, attrs, index):
    """H and β by the definition, in float64: (N, G, n, H', W') of -1, 0, 1 and (N, G, H', W')."""
    rest, counts = torch_patches(x, attrs)
    for step in range(index + 1):
        beta = np.abs(rest).mean(axis=2, keepdims=True)
        plane = np.where(rest >= 0, 1, -1) * counts
        if step < index:
            rest = rest - beta * plane
    return plane, beta[:, :, 0]


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("given", GEOMETRIES, ids=str)
def test_residual_planes_and_their_products(tmp_path, given, index):
    rng = np.random.default_rng(0)
    attrs = windows(**given)
    groups = attrs["groups"]
    x, w = floats(rng, 1, 40, 5, 6), signs(rng, 4, 40 // groups, *attrs["kernel"])
    taps = 40 * attrs["kernel"][0] * attrs["kernel"][1]
    nodes = (
        Node("r", "residual_sign", ("images",), ("signs", "beta"), {**attrs, "index": index}),
        node("y", "binary_patches", "signs", {"channels": taps, "groups": groups}, weight="w", scale="s", bias="b"),
    )
    tensors = {"w": pack_weight(w), "s": floats(rng, 4), "b": floats(rng, 4)}
    session = open_graph(tmp_path, Graph(nodes, "y", channels=40), tensors)
    values = session.values(x[0])
    planes, beta = residual(x, attrs, index)
    np.testing.assert_array_equal(values["signs"], planes[0].reshape(taps, *planes.shape[3:]))
    np.testing.assert_allclose(values["beta"], beta[0], rtol=1e-5)
    acc = session.accumulate("y", values["signs"])
    np.testing.assert_array_equal(acc, naive.accumulate_patches(values["signs"], w, groups))
    expected = acc.astype(np.float32) * tensors["s"][:, None, None] + tensors["b"][:, None, None]
    np.testing.assert_array_equal(values["y"], expected)


def test_a_tap_at_zero_is_plus_one_and_a_padded_one_nothing(tmp_path):
    attrs = windows(padding=[1, 1]) | {"index": 0}
    nodes = (Node("r", "residual_sign", ("images",), ("signs", "beta"), attrs),)
    session = open_graph(tmp_path, Graph(nodes, "beta", channels=1), {})
    values = session.values(np.zeros((1, 1, 1), np.float32))
    assert values["signs"][:, 0, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert values["beta"].tolist() == [[[0.0]]]


def test_residuals_of_a_vector(tmp_path):
    x = floats(np.random.default_rng(0), 1, 70, 1, 1)
    attrs = windows(kernel=[1, 1])
    nodes = (
        node("flat", "flatten", "images"),
        Node("r", "residual_sign", ("flat",), ("signs", "beta"), attrs | {"index": 1}),
        node("k", "window_mean", "flat", attrs),
    )
    values = open_graph(tmp_path, Graph(nodes, ["beta", "k"], channels=70), {}).values(x[0])
    planes, beta = residual(x, attrs, 1)
    np.testing.assert_array_equal(values["signs"], planes.reshape(-1))
    np.testing.assert_allclose(values["beta"], beta.reshape(-1), rtol=1e-5)
    np.testing.assert_allclose(values["k"], [np.abs(x).mean()], rtol=1e-6)


def test_a_residual_of_nan_is_an_error_that_names_the_node(tmp_path):
    x = np.zeros((1, 3, 4, 4), np.float32)
    x[0, 1, 2, 3] = np.nan
    nodes = [Node("r", "residual_sign", ("images",), ("signs", "beta"), windows() | {"index": 0})]
    with pytest.raises(ValueError, match=r"node `r` \(residual_sign\).*NaN"):
        run_nodes(tmp_path, nodes, {}, x, outputs="beta")


def test_accumulate_of_patches_refuses_what_does_not_fit(tmp_path):
    nodes = (
        Node("r", "residual_sign", ("images",), ("signs", "beta"), windows() | {"index": 0}),
        node("y", "binary_patches", "signs", {"channels": 18, "groups": 1}, weight="w"),
    )
    session = open_graph(tmp_path, Graph(nodes, "y", channels=2), {"w": pack_weight(np.ones((3, 18)))})
    assert session.accumulate("y", np.zeros((18, 2, 2), np.int8)).tolist() == [[[0, 0], [0, 0]]] * 3
    for wrong, message in (
        (np.ones((17, 2, 2), np.int8), "packed patches of 18 taps"),
        (np.ones((18,), np.int8), r"\(C, H, W\)"),
        (np.full((18, 2, 2), 2, np.int8), "and 0 outside"),
    ):
        with pytest.raises(ValueError, match=message):
            session.accumulate("y", wrong)


# --- sums and products of maps -------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
X = floats(RNG, 2, 6, 4, 3)


def branch(name, scale):
    return node(name, "scale_shift", "images", scale=scale, shift="zero")


BRANCHES = {"one": floats(RNG, 6), "two": floats(RNG, 6), "zero": np.zeros(6, np.float32)}


def test_weighted_sum(tmp_path):
    nodes = [branch("a", "one"), branch("b", "two"), node("y", "weighted_sum", "a b images a", weight="w")]
    w = floats(RNG, 4)
    y = run_nodes(tmp_path, nodes, BRANCHES | {"w": w}, X)
    a, b = (X * BRANCHES[name][:, None, None] for name in ("one", "two"))
    np.testing.assert_allclose(y, w[0] * a + w[1] * b + w[2] * X + w[3] * a, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_multiply_repeats_the_factor_group_by_group(tmp_path, channels):
    nodes = [
        node("f", "channel_group_mean", "images", {"channels": channels}),
        branch("a", "one"),
        node("y", "multiply", "a f"),
    ]
    y, f = run_nodes(tmp_path, nodes, {k: BRANCHES[k] for k in ("one", "zero")}, X, outputs=["y", "f"])
    np.testing.assert_allclose(f, X.reshape(2, 6 // channels, channels, 4, 3).mean(axis=1), rtol=1e-5, atol=1e-6)
    a = X * BRANCHES["one"][:, None, None]
    np.testing.assert_array_equal(y, a * np.repeat(f, 6 // channels, axis=1))


def test_scale_map_fits_one_size(tmp_path):
    scale = floats(RNG, 6, 4, 3)
    nodes = [node("y", "scale_map", "images", scale="s")]
    np.testing.assert_array_equal(run_nodes(tmp_path, nodes, {"s": scale}, X), X * scale)
    with pytest.raises(ValueError, match=r"node `y` .*map of 4×3 px, to which the scales are tied, but got 4×4"):
        run_nodes(tmp_path, nodes, {"s": scale}, np.zeros((1, 6, 4, 4), np.float32))


def test_a_slope_on_either_side(tmp_path):
    slopes = {"above": floats(RNG, 6), "below": floats(RNG, 6)}
    y = run_nodes(tmp_path, [node("y", "prelu", "images", slope="below", slope_above="above")], slopes, X)
    above, below = (slopes[name][:, None, None] for name in ("above", "below"))
    np.testing.assert_array_equal(y, np.where(X >= 0, X * above, X * below))
