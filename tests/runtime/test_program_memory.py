"""Where values lie: none where another lives, nothing allocated a call, any sizes in any order."""

import time
import tracemalloc

import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph, pack_weight, signs, tiny_detector, tiny_net
from program_cases import needs_kernels, open_engine, random_graph

from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.program.memory import ALIGNMENT, SLACK, aligned, place_values, round_up


def overlapping(sizes, births, deaths, offsets):
    """Pairs of values that share a byte while both live: brute force, byte by byte and step by step."""
    owners, found = {}, set()
    for value, offset in offsets.items():
        for step in range(births[value], deaths[value] + 1):
            for byte in range(offset, offset + sizes[value]):
                other = owners.setdefault((step, byte), value)
                if other != value:
                    found.add((other, value))
    return found


@pytest.mark.parametrize("seed", range(150))
def test_values_that_live_at_once_lie_apart(seed):
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(1, 14)), int(rng.integers(1, 9))
    names = [f"v{i}" for i in range(count)]
    sizes = {n: int(rng.integers(1, 300)) for n in names}
    births = {n: int(rng.integers(0, steps)) for n in names}
    deaths = {n: int(rng.integers(births[n], steps)) for n in names}
    offsets, total = place_values(sizes, births, deaths)
    assert set(offsets) == set(names)
    assert all(offset >= 0 and offset % ALIGNMENT == 0 for offset in offsets.values())
    assert overlapping(sizes, births, deaths, offsets) == set()
    assert all(offsets[n] + sizes[n] <= total for n in names)
    alive = [sum(round_up(sizes[n]) for n in names if births[n] <= step <= deaths[n]) for step in range(steps)]
    assert max(alive) <= total <= sum(round_up(size) for size in sizes.values())


def test_a_chain_needs_two_places():
    names = [f"v{i}" for i in range(20)]
    births = {n: i for i, n in enumerate(names)}
    _, total = place_values(dict.fromkeys(names, 640), births, {n: births[n] + 1 for n in names})
    assert total == 2 * 640
    assert place_values({}, {}, {}) == ({}, 0)


def test_thousands_of_values_are_placed_in_seconds():
    names = [f"v{i}" for i in range(4000)]
    births = {n: i for i, n in enumerate(names)}
    start = time.process_time()
    offsets, total = place_values(dict.fromkeys(names, 64), births, dict.fromkeys(names, 4000))
    assert time.process_time() - start < 5
    assert sorted(offsets.values()) == list(range(0, total, 64))


@pytest.mark.parametrize("size", [1, 63, 64, 1000])
def test_aligned(size):
    """With room behind it that may be read."""
    made = aligned(size)
    assert made.nbytes == size
    assert made.ctypes.data % ALIGNMENT == 0
    assert not made.any()
    assert made.base.nbytes - (made.ctypes.data - made.base.ctypes.data) - size >= SLACK


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
def test_sizes_and_batches_take_turns(tmp_path, threads):
    """As if each had a session of its own."""
    rng = np.random.default_rng(0)
    shapes = [(1, 3, 33, 35), (4, 3, 1, 1), (2, 3, 9, 70)]
    inputs = [rng.random(shape, np.float32) for shape in shapes]
    fresh = [open_engine(*tiny_net()) for _ in inputs]
    for_one = [[f.run(each.transpose(1, 2, 0), ["head", "sum"]) for each in x] for f, x in zip(fresh, inputs)]
    shared = open_engine(*tiny_net(), threads)
    for _ in range(3):
        for x, expected in zip(inputs, for_one):
            for each, right in zip(x, expected):
                made = shared.run(each.transpose(1, 2, 0), ["head", "sum"])
                np.testing.assert_array_equal(made["head"], right["head"])
                np.testing.assert_array_equal(made["sum"], right["sum"])


def of_any_size(seed):
    return all(n.op not in ("scale_map", "binary_linear") for n in random_graph(seed, exact=True)[0].nodes)


@needs_kernels
@pytest.mark.parametrize("seed", [seed for seed in range(30) if of_any_size(seed)])
def test_sizes_of_random_graphs_take_turns(seed):
    graph, tensors, (height, width) = random_graph(seed, exact=True)
    shared, wanted = open_engine(graph, tensors), list(graph.outputs)
    rng = np.random.default_rng(seed)
    images = [floats(rng, height + i, width + 3 * i, graph.channels) for i in (0, 2, 1)]
    fits = [expected_of(shared, image, wanted) for image in images]
    for _ in range(2):
        for image, expected in zip(images, fits):
            if expected is not None:
                made = shared.run(image, wanted)
                for name in wanted:
                    np.testing.assert_array_equal(made[name], expected[name], err_msg=name)


def expected_of(engine, image, wanted):
    """What the reference path gives; None for a size at which maps no longer fit one another."""
    try:
        engine.plan(*image.shape[:2])
    except ValueError:
        return None
    return engine.run_by_node(image, wanted)


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_is_allocated_a_call(threads):
    """The arena stays where it is, sizes taking turns; what a call leaves behind is small."""
    rng = np.random.default_rng(0)
    nodes = (
        node("norm", "normalize", "images", mean="s", std="s"),
        node("stem", "conv2d", "norm", GEOMETRY, weight="k"),
        node("bits", "sign", "stem", {"groups": 1}),
        node(
            "conv", "binary_conv2d", "bits", {"channels": 64, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}, weight="w"
        ),
        node("sum", "add", "conv stem"),
        node("pool", "global_avg_pool", "sum"),
    )
    tensors = {"s": np.ones(3, np.float32), "k": floats(rng, 64, 3, 3, 3), "w": pack_weight(signs(rng, 64, 64, 3, 3))}
    engine = open_engine(Graph(nodes, "pool"), tensors, threads)
    images = [rng.random((side, side, 3), np.float32) for side in (64, 7, 40)]
    for image in images:
        engine.run(image, ["pool"])
    executor = engine.executor
    address, length = executor._arena.ctypes.data, len(executor._arena)
    assert address % ALIGNMENT == 0
    assert length > 64 * 64 * 64 * 4  # a map of the largest image
    tracemalloc.start()
    try:
        for image in images * 3:
            engine.run(image, ["pool"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (executor._arena.ctypes.data, len(executor._arena)) == (address, length)
    assert peak < 64 << 10


@needs_kernels
def test_results_are_the_callers_own(tmp_path):
    """The next call does not change them, and changing them does not change the next call."""
    net = open_graph(tmp_path, *tiny_net())
    rng = np.random.default_rng(0)
    x, y = (rng.random((1, 3, 16, 16), np.float32) for _ in range(2))
    image = x[0].transpose(1, 2, 0)
    everything = ["images", *(n.name for n in net.nodes)]
    first = net.engine.run(image, everything)
    kept = {name: value.copy() for name, value in first.items()}
    net.engine.run(y[0].transpose(1, 2, 0), everything)
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name], err_msg=name)
        value[...] = 0
    again = net.engine.run(image, everything)
    for name, value in again.items():
        np.testing.assert_array_equal(value, kept[name], err_msg=name)


@needs_kernels
def test_a_detector_after_other_sizes(tmp_path):
    """Operations without a kernel read and write the same memory."""
    detector = open_graph(tmp_path, *tiny_detector())
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (32, 48, 3), dtype=np.uint8) for _ in range(2)]
    expected = [detector([image])[0] for image in images]
    detector.forward(rng.random((2, 3, 96, 64), np.float32))
    for made, right in zip(detector(images), expected):
        np.testing.assert_array_equal(made.boxes, right.boxes)
        np.testing.assert_array_equal(made.scores, right.scores)
