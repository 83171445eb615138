"""Depthwise convolution by its own kernel, against torch and the reference operation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graphs import floats, node, open_graph, pack_weight, run_nodes, signs
from program_cases import check_against_reference, needs_kernels, open_engine

from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.program.steps import FusedStep
from bnn_tasks.runtime.simd import record as r


def attrs_of(channels, stride=(1, 1), padding=(1, 1), dilation=(1, 1)):
    return {"stride": [*stride], "padding": [*padding], "dilation": [*dilation], "groups": channels}


@pytest.mark.parametrize("channels", [2, 16, 23, 48, 64, 72, 150])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [
        ((7, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
        ((8, 13), (3, 3), (2, 2), (1, 1), (1, 1)),
        ((6, 70), (5, 5), (1, 1), (2, 2), (1, 1)),
        ((9, 90), (3, 3), (1, 3), (0, 4), (2, 3)),
        ((3, 4), (7, 7), (1, 1), (3, 3), (1, 1)),
        ((1, 1), (3, 3), (2, 2), (1, 1), (1, 1)),
        ((5, 6), (1, 1), (1, 1), (2, 2), (1, 1)),  # windows in the padding alone
        ((4, 9), (2, 4), (1, 1), (1, 0), (1, 1)),
    ],
)
def test_follows_torch(tmp_path, channels, size, kernel, stride, padding, dilation):
    rng = np.random.default_rng(0)
    x, w, b = floats(rng, 2, channels, *size), floats(rng, channels, 1, *kernel), floats(rng, channels)
    y = run_nodes(
        tmp_path,
        [node("y", "conv2d", "images", attrs_of(channels, stride, padding, dilation), weight="w", bias="b")],
        {"w": w, "b": b},
        x,
    )
    expected = F.conv2d(*map(torch.tensor, (x, w, b)), stride, padding, dilation, channels).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def a_block(channels=72):
    """A depthwise layer between a stem and a binary layer: BatchNorm, residual sum, PReLU and signs follow it."""
    rng = np.random.default_rng(0)
    one = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    binary = {"channels": channels, "kernel": [1, 1], **one, "pad_value": 0}
    nodes = (
        node("stem", "conv2d", "images", one, weight="stem"),
        node("depth", "conv2d", "stem", attrs_of(channels), weight="w"),
        node("norm", "scale_shift", "depth", scale="a", shift="b"),
        node("sum", "add", "norm stem"),
        node("act", "prelu", "sum", slope="a"),
        node("bits", "sign", "act", {"groups": 1}, threshold="b"),
        node("point", "binary_conv2d", "bits", binary, weight="point", scale="a"),
        node("end", "add", "point act"),
    )
    tensors = {
        "stem": floats(rng, channels, 3, 1, 1),
        "w": floats(rng, channels, 1, 3, 3),
        "a": floats(rng, channels),
        "b": floats(rng, channels),
        "point": pack_weight(signs(rng, channels, channels)),
    }
    return Graph(nodes, "end"), tensors


@needs_kernels
@pytest.mark.parametrize("size", [(5, 6), (1, 9), (3, 100)])
def test_what_follows_runs_in_the_same_step(size):
    graph, tensors = a_block()
    engine = open_engine(graph, tensors)
    image = floats(np.random.default_rng(1), *size, 3)
    check_against_reference(engine, image)
    program = engine.executor.program(*size, engine.plan(*size).kinds, ["end"])
    kinds = [row.cells[r.KIND] for row in program.rows if row is not None]
    assert kinds == [r.FLOAT, r.DEPTHWISE, r.XNOR]
    step = program.labels[2]
    assert isinstance(step, FusedStep)
    assert [n.name for n in step.nodes] == ["depth", "norm", "sum", "act", "bits"]


@needs_kernels
def test_rows_of_a_large_map_are_pooled_as_they_are_made():
    graph, tensors = a_block(64)
    pool = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}
    nodes = (*graph.nodes[:2], node("pool", "max_pool2d", "depth", pool), node("end", "relu", "pool"))
    engine = open_engine(Graph(nodes, "end"), tensors)
    image = floats(np.random.default_rng(1), 50, 60, 3)
    (found,) = engine.run(image, ["end"]).values()
    (row,) = [
        row for row in engine.executor.program(50, 60, engine.plan(50, 60).kinds, ["end"]).rows if row and row.inner
    ]
    assert row.inner.cells[r.KIND] == r.DEPTHWISE
    (expected,) = engine.run_by_node(image, ["end"]).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize("threads", [2, 3])
def test_each_number_of_threads_gives_the_same_bits(threads):
    graph, tensors = a_block()
    one, many = open_engine(graph, tensors), open_engine(graph, tensors, threads)
    values = [value for n in graph.nodes for value in n.outputs]
    for size in [(9, 11), (1, 1), (4, 90)]:
        image = floats(np.random.default_rng(1), *size, 3)
        expected = one.run(image, values)
        for name, value in many.run(image, values).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@needs_kernels
def test_neighbours_of_a_group_keep_the_general_kernel(tmp_path):
    """Two outputs a channel: as many groups as inputs, but no lane by lane product."""
    w = {"w": floats(np.random.default_rng(0), 8, 1, 3, 3)}
    session = open_graph(tmp_path, Graph((node("y", "conv2d", "images", attrs_of(4), weight="w"),), "y", 4), w)
    program = session.engine.executor.program(5, 6, session.plan(5, 6).kinds, ["y"])
    assert program.rows[1].cells[r.KIND] == r.FLOAT
