"""The float twin: same shapes as the artifact, folded as exact as unfolded, one convolution a layer."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import GEOMETRY, floats, node, pack_weight, signs, tiny_detector, tiny_net, tiny_terms

from bnn_tasks.bench.simplify import FloatNet, float_net, raw_outputs
from bnn_tasks.bench.twin import make_twin
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import Graph, save

Made = tuple[Graph, dict[str, np.ndarray]]
MAKERS: list[tuple[Callable[[], Made], tuple[int, int]]] = [
    (tiny_net, (17, 24)),
    (tiny_detector, (32, 48)),
    (tiny_terms, (16, 16)),
]


def run(net: FloatNet, x: np.ndarray) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        outputs = make_twin(net)(torch.from_numpy(x))
    return dict(zip(net.outputs, [y.numpy() for y in outputs]))


def ops(net: FloatNet) -> Counter[str]:
    return Counter(op.op for op in net.ops)


@pytest.mark.parametrize(("make", "size"), MAKERS)
def test_shapes_are_the_artifacts(make: Callable[[], Made], size: tuple[int, int], tmp_path: Path) -> None:
    graph, tensors = make()
    save(tmp_path / "net.safetensors", graph, tensors)
    x = np.random.default_rng(0).random((1, 3, *size), np.float32)
    values = Session(tmp_path / "net.safetensors").values(x[0])
    found = run(float_net(graph, tensors), x)
    wanted = raw_outputs(graph)
    assert [y.shape for y in found.values()] == [(1, *values[name].shape) for name in wanted]
    assert all(np.isfinite(y).all() and y.std() > 0 for y in found.values())


@pytest.mark.parametrize(("make", "size"), MAKERS)
def test_folding_changes_nothing(make: Callable[[], Made], size: tuple[int, int]) -> None:
    graph, tensors = make()
    x = np.random.default_rng(1).standard_normal((1, 3, *size), np.float32)
    folded, plain = float_net(graph, tensors), float_net(graph, tensors, fold=False)
    assert ops(plain)["scale_shift"] > ops(folded)["scale_shift"]
    for y, reference in zip(run(folded, x).values(), run(plain, x).values()):
        np.testing.assert_allclose(y, reference, rtol=1e-5, atol=1e-5 * np.abs(reference).max())


def test_a_float_net_is_its_own_twin(tmp_path: Path) -> None:
    """Convolution, BatchNorm, ReLU, pools, addition: weights are real, and so the twin computes what the artifact does."""
    rng = np.random.default_rng(0)
    window = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "ceil_mode": True}
    nodes = [
        node("conv", "conv2d", "images", GEOMETRY, weight="w", bias="b"),
        node("bn", "scale_shift", "conv", scale="s", shift="t"),
        node("relu", "relu", "bn"),
        node("max", "max_pool2d", "relu", {**window, "dilation": [1, 1]}),
        node("mean", "avg_pool2d", "relu", {**window, "count_include_pad": False}),
        node("sum", "add", "max mean"),
        node("act", "prelu", "sum", slope="slope", shift_in="t", shift_out="s"),
        node("two", "prelu", "act", slope="t", slope_above="s"),
        node("big", "resize_nearest", "two conv"),
        node("cat", "concat", "big relu"),
        node("half", "channel_group_mean", "cat", {"channels": 8}),
        node("clip", "hardtanh", "half", {"min": -1.5, "max": 2.0}),
        node("pool", "global_avg_pool", "clip"),
        node("flat", "flatten", "pool"),
        node("head", "linear", "flat", weight="w2"),
        node("odds", "sigmoid", "head"),
    ]
    tensors = {name: floats(rng, 8) for name in ("b", "s", "t", "slope")}
    tensors |= {"w": floats(rng, 8, 3, 3, 3), "w2": floats(rng, 5, 8)}
    graph = Graph(tuple(nodes), {"odds": "odds", "map": "clip"})
    save(tmp_path / "net.safetensors", graph, tensors)
    x = np.random.default_rng(2).standard_normal((1, 3, 9, 11), np.float32)
    expected = Session(tmp_path / "net.safetensors").forward(x)
    found = run(float_net(graph, tensors), x)
    for name in ("odds", "map"):
        y = found[{"odds": "odds", "map": "clip"}[name]]
        np.testing.assert_allclose(y, expected[name], rtol=1e-4, atol=1e-5)


def test_a_layer_of_many_terms_is_one_convolution() -> None:
    graph, tensors = tiny_terms()
    net = float_net(graph, tensors)
    # stem; first and second; patches, of which `real` is a further term. At the head `row` stands for both.
    assert ops(net)["conv2d"] == 3
    assert ops(net)["linear"] == 1
    assert not {op.op for op in net.ops} & {"sign", "ones", "window_mean", "residual_sign"}


def test_the_normalisation_is_left_to_the_caller() -> None:
    graph, tensors = tiny_net()
    net = float_net(graph, tensors)
    assert net.mean is not None
    assert net.std is not None
    np.testing.assert_array_equal(net.mean, tensors["mean"])
    np.testing.assert_array_equal(net.std, tensors["std"])
    assert ops(net)["normalize"] == 0
    # Folded thresholds stand for a BatchNorm and an activation.
    assert ops(net)["relu"] == 1


def test_bytes_count_shared_weights_once() -> None:
    graph, tensors = tiny_detector()
    net = float_net(graph, tensors)
    others = sum(tensor.size for name, tensor in tensors.items() if name != "w")
    assert net.binary_weight_bytes == 4 * 8 * 8 * 9
    assert net.weight_bytes == 4 * (others + 8 * 8 * 9)


def test_layers_that_share_bits_share_weights() -> None:
    rng = np.random.default_rng(0)
    conv = {"channels": 8, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}
    nodes = [node("bits", "sign", "images", {"groups": 1})]
    nodes += [
        node(name, "binary_conv2d", "bits", conv, weight=weight)
        for name, weight in (("a", "w"), ("b", "w"), ("c", "v"))
    ]
    graph = Graph(tuple(nodes), ["a", "b", "c"], channels=8)
    tensors = {name: pack_weight(signs(rng, 8, 8, 3, 3)) for name in ("w", "v")}
    a, b, c = run(float_net(graph, tensors), floats(rng, 1, 8, 5, 5)).values()
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1
