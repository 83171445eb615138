"""Elementwise ops and ops that move values, against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, run_nodes
from torchvision.transforms.v2 import functional as V

RNG = np.random.default_rng(0)
X = floats(RNG, 2, 5, 4, 3) * 3
T = torch.tensor(X)
PER_CHANNEL = {name: floats(RNG, 5) for name in ("a", "b", "c")} | {"positive": np.abs(floats(RNG, 5)) + 0.1}


def per_channel(name):
    return torch.tensor(PER_CHANNEL[name])[:, None, None]


def rprelu(slope):
    u = T - per_channel("a")
    return torch.where(u >= 0, u, u * slope) + per_channel("b")


CASES = [
    ("normalize", {}, {"mean": "a", "std": "positive"},
     V.normalize(T, PER_CHANNEL["a"].tolist(), PER_CHANNEL["positive"].tolist())),
    ("scale_shift", {}, {"scale": "a", "shift": "b"}, T * per_channel("a") + per_channel("b")),
    ("relu", {}, {}, F.relu(T)),
    ("sigmoid", {}, {}, T.sigmoid()),
    ("hardtanh", {"min": -1, "max": 0.5}, {}, F.hardtanh(T, -1, 0.5)),
    ("prelu", {}, {"slope": "c"}, F.prelu(T, torch.tensor(PER_CHANNEL["c"]))),
    ("prelu", {}, {"slope": "c", "shift_in": "a", "shift_out": "b"}, rprelu(per_channel("c"))),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs", "tensors", "expected"), CASES)
def test_elementwise(tmp_path, op, attrs, tensors, expected):
    used = {name: PER_CHANNEL[name] for name in tensors.values()}
    y = run_nodes(tmp_path, [node("y", op, "images", attrs, **tensors)], used, X)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("op", "attrs", "tensors", "expected"), CASES[1:])
def test_elementwise_on_a_vector(tmp_path, op, attrs, tensors, expected):
    used = {name: PER_CHANNEL[name] for name in tensors.values()}
    nodes = [node("flat", "flatten", "images"), node("y", op, "flat", attrs, **tensors)]
    y = run_nodes(tmp_path, nodes, used, X[:, :, :1, :1])
    np.testing.assert_allclose(y, expected.numpy()[:, :, 0, 0], rtol=1e-6, atol=1e-7)


def test_one_slope_for_all_channels(tmp_path):
    y = run_nodes(tmp_path, [node("y", "prelu", "images", slope="s")], {"s": np.array([0.25], np.float32)}, X)
    np.testing.assert_array_equal(y, F.leaky_relu(T, 0.25).numpy())


def test_batchnorm_in_eval_is_a_scale_shift(tmp_path):
    bn = torch.nn.BatchNorm2d(5).eval()
    with torch.no_grad():
        for tensor in (bn.weight, bn.bias, bn.running_mean):
            tensor.normal_()
        bn.running_var.uniform_(0.5, 2)
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        shift = bn.bias - bn.running_mean * scale
        expected = bn(T).numpy()
    tensors = {"a": scale.numpy(), "b": shift.numpy()}
    y = run_nodes(tmp_path, [node("y", "scale_shift", "images", scale="a", shift="b")], tensors, X)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_sigmoid_saturates_without_a_warning(tmp_path, recwarn):
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32).reshape(1, 1, 1, 5)
    y = run_nodes(tmp_path, [node("y", "sigmoid", "images")], {}, x)
    np.testing.assert_allclose(y, torch.sigmoid(torch.tensor(x)).numpy(), rtol=1e-6, atol=1e-38)
    assert not recwarn.list


@pytest.mark.parametrize("count", [2, 3])
def test_add_and_concat(tmp_path, count):
    parts = [node(f"p{i}", "hardtanh", "images", {"min": -i - 1, "max": i + 1}) for i in range(count)]
    names = " ".join(p.name for p in parts)
    values = [T.clamp(-i - 1, i + 1) for i in range(count)]
    nodes = [*parts, node("sum", "add", names), node("cat", "concat", names)]
    y = run_nodes(tmp_path, nodes, {}, X, outputs=["sum", "cat"])
    np.testing.assert_array_equal(y[0], sum(values[1:], values[0]).numpy())
    np.testing.assert_array_equal(y[1], torch.cat(values, 1).numpy())


def test_add_and_flatten_vectors(tmp_path):
    nodes = [node("flat", "flatten", "images"), node("act", "relu", "flat"), node("y", "add", "flat act flat")]
    flat = T.flatten(1)
    np.testing.assert_array_equal(run_nodes(tmp_path, nodes, {}, X), (flat + flat.relu() + flat).numpy())


@pytest.mark.parametrize("source", [(1, 1), (2, 3), (4, 4), (5, 7), (13, 9)])
@pytest.mark.parametrize("size", [(8, 8), (5, 11), (3, 2), (29, 31)])
def test_resize_nearest_follows_torch(tmp_path, source, size):
    """A strided 1 × 1 convolution makes the map to resize; the input is the reference."""
    x = floats(np.random.default_rng(0), 1, 2, *size)
    stride = [max(1, -(-size[i] // source[i])) for i in (0, 1)]
    attrs = {"stride": stride, "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    nodes = [node("small", "conv2d", "images", attrs, weight="w"), node("y", "resize_nearest", "small images")]
    small, y = run_nodes(tmp_path, nodes, {"w": floats(RNG, 2, 2, 1, 1)}, x, outputs=["small", "y"])
    np.testing.assert_array_equal(y, F.interpolate(torch.tensor(small), size=size, mode="nearest").numpy())


@pytest.mark.parametrize("size", [1, 3, 7, 16, 100])
def test_nearest_index_down_and_up(size):
    from bnn_tasks.runtime.ops.shape import nearest

    for source in range(1, 60):
        index = torch.arange(source, dtype=torch.float32)[None, None]
        expected = F.interpolate(index, size=size, mode="nearest")[0, 0].numpy()
        np.testing.assert_array_equal(nearest(size, source), expected)
