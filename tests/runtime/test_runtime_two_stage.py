"""A two-stage detector in one graph: proposals and RoIAlign between layers that have kernels."""

import itertools
from collections import Counter

import mutate
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import GEOMETRY, floats, node, pack_weight, signs
from program_cases import check_against_reference, needs_kernels, open_engine

from bnn_tasks.runtime.format import Graph, Node, save
from bnn_tasks.runtime.program.program import Lone

POINT = {**GEOMETRY, "padding": [0, 0]}
BINARY_POINT = {**POINT, "kernel": [1, 1], "pad_value": 0}


def two_stages(channels=8, size=3, proposals=12):
    """A pyramid of two levels that proposals, a dense head and RoIAlign read; a box head of a binary layer and two real."""
    rng = np.random.default_rng(0)
    long = size * size * channels
    pool = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}
    nodes = [
        node("stem", "conv2d", "images", {**GEOMETRY, "stride": [4, 4]}, weight="stem"),
        node("bits", "sign", "stem", {"groups": 1}),
        node("p0", "binary_conv2d", "bits", {"channels": channels, "kernel": [3, 3], **GEOMETRY, "pad_value": 0},
             weight="w", scale="s"),
        node("act", "prelu", "p0", slope="slope"),
        node("p1", "max_pool2d", "act", pool),
    ]  # fmt: skip
    for level in ("act", "p1"):
        nodes += [
            node(f"{level}.object", "conv2d", level, POINT, weight="object"),
            node(f"{level}.delta", "conv2d", level, POINT, weight="delta"),
        ]
    nodes += [
        node("anchors", "anchors", "act p1", {"strides": [[4, 4], [8, 8]]}, base="base"),
        node("regions", "proposals", "anchors act.object p1.object act.delta p1.delta",
             {"weights": [1, 1, 1, 1], "clip": 4.135, "top_k": 40, "iou_threshold": 0.6, "min_size": 2,
              "max_proposals": proposals}),
        node("aligned", "roi_align", "regions act p1",
             {"strides": [4, 8], "output_size": size, "sampling_ratio": 2, "canonical_level": 1, "canonical_size": 12}),
        node("long.bits", "sign", "aligned", {"groups": 1}, threshold="t"),
        node("full", "binary_conv2d", "long.bits", {"channels": long, **BINARY_POINT}, weight="full", scale="full.s"),
        node("full.act", "relu", "full"),
        node("classes", "conv2d", "full.act", POINT, weight="classes"),
        node("moves", "conv2d", "full.act", POINT, weight="moves"),
        node("boxes", "decode_boxes", "regions moves", {"weights": [10, 10, 5, 5], "clip": 4.135}),
        Node("found", "nms_softmax", ("boxes", "classes"), ("found.boxes", "found.scores", "found.labels"),
             {"num_classes": 2, "score_threshold": 0.2, "top_k": 100, "iou_threshold": 0.5, "max_detections": 20}, {}),
    ]  # fmt: skip
    half = np.array([[4, 4], [9, 6]], np.float32)
    base = np.concatenate([-half, half], axis=1)
    tensors = {
        "stem": floats(rng, channels, 3, 3, 3),
        "w": pack_weight(signs(rng, channels, channels, 3, 3)),
        "s": np.full(channels, 0.1, np.float32),
        "slope": np.array([0.25], np.float32),
        "object": floats(rng, 2, channels, 1, 1),
        "delta": 0.1 * floats(rng, 8, channels, 1, 1),
        "base": np.stack([base, 2 * base]),
        "t": np.array([0.1], np.float32),
        "full": pack_weight(signs(rng, 16, long)),
        "full.s": np.full(16, long**-0.5, np.float32),
        "classes": 0.5 * floats(rng, 3, 16, 1, 1),
        "moves": 0.1 * floats(rng, 4, 16, 1, 1),
    }
    return Graph(tuple(nodes), {"boxes": "boxes", "dense": ["act.object", "p1.object"], "classes": "classes"}), tensors


def the_image(size=(40, 56)):
    return np.random.default_rng(1).random((*size, 3), np.float32)


FOUND = ["found.boxes", "found.scores", "found.labels"]


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_and_reference_operations_take_turns(threads):
    graph, tensors = two_stages()
    engine = open_engine(graph, tensors, threads)
    values = check_against_reference(engine, the_image())
    assert (values["aligned"] != 0).any()
    assert len(values["found.boxes"]) > 2
    program = engine.executor.program(40, 56, engine.plan(40, 56).kinds, FOUND)
    alone = [item.node.op for item in program.items if isinstance(item, Lone)]
    assert alone == ["anchors", "proposals", "roi_align", "decode_boxes", "nms_softmax"]
    for _ in range(2):  # what the arena held before does not matter
        for name, value in engine.run(the_image(), FOUND).items():
            np.testing.assert_array_equal(value, values[name], err_msg=name)


@needs_kernels
@pytest.mark.parametrize("size", [(40, 56), (8, 8), (33, 100)])
def test_each_number_of_threads_gives_the_same_bits(size):
    graph, tensors = two_stages()
    one, two = open_engine(graph, tensors), open_engine(graph, tensors, 2)
    values = [value for n in graph.nodes for value in n.outputs]
    expected = one.run(the_image(size), values)
    for name, value in two.run(the_image(size), values).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_node_by_node_without_kernels():
    graph, tensors = two_stages()
    engine = open_engine(graph, tensors)
    found, alone = engine.run(the_image(), FOUND), engine.run_by_node(the_image(), FOUND)
    np.testing.assert_array_equal(found["found.labels"], alone["found.labels"])
    np.testing.assert_allclose(found["found.boxes"], alone["found.boxes"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["found.scores"], alone["found.scores"], rtol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "outputs"), [(1, 8), (37, 130), (100, 64)])
def test_a_long_binary_layer_on_a_column_is_exact(rows, outputs, threads):
    """A fully connected layer on 7·7·128 signs a box."""
    rng = np.random.default_rng(0)
    weight = signs(rng, outputs, 6272)
    attrs = {"channels": 6272, **BINARY_POINT}
    nodes = (
        node("bits", "sign", "images", {"groups": 1}),
        node("y", "binary_conv2d", "bits", attrs, weight="w", scale="s"),
    )
    tensors = {"w": pack_weight(weight), "s": np.ones(outputs, np.float32)}
    engine = open_engine(Graph(nodes, "y", channels=6272), tensors, threads)
    x = floats(rng, rows, 1, 6272)
    expected = np.where(x[:, 0] >= 0, 1.0, -1.0) @ weight.T.astype(np.float64)
    np.testing.assert_array_equal(engine.run(x, ["y"])["y"][:, 0], expected)
    bits = np.where(x >= 0, 1, -1).astype(np.int8).transpose(2, 0, 1)
    np.testing.assert_array_equal(engine.accumulate(nodes[1], bits)[:, :, 0].T, expected)


def test_a_fully_connected_layer_is_a_point_convolution():
    """torchvision's box head flattens (C, y, x); the node's order (y, x, C) takes the same weight, permuted."""
    graph, tensors = two_stages(channels=4)
    rng = np.random.default_rng(2)
    weight = floats(rng, 5, 4 * 3 * 3)
    permuted = weight.reshape(5, 4, 3, 3).transpose(0, 2, 3, 1).reshape(5, -1, 1, 1)
    nodes = (*graph.nodes, node("head", "conv2d", "aligned", POINT, weight="head"))
    engine = open_engine(Graph(nodes, "head"), tensors | {"head": np.ascontiguousarray(permuted)})
    values = engine.run(the_image(), ["aligned", "head"])
    regions = torch.tensor(values["aligned"]).reshape(-1, 3, 3, 4).permute(0, 3, 1, 2)
    expected = F.linear(regions.flatten(1), torch.tensor(weight)).numpy()
    np.testing.assert_allclose(values["head"][:, 0], expected, rtol=1e-5, atol=1e-5)


def test_mutants(tmp_path):
    """Damaged and hostile files load, or are refused by name."""
    save(tmp_path / "artifact", *two_stages())
    data = (tmp_path / "artifact").read_bytes()
    results: Counter[str] = Counter()
    for _, mutant in itertools.islice(mutate.mutants(data, seed=0), 300):
        results[mutate.try_mutant(tmp_path / "mutant", mutant)] += 1
    assert results["refused"] > 150
    assert results["ran"] > 5
