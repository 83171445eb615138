"""Which nodes run together, which passes are one, and graphs on which fusing has to be careful."""

import time

import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph, pack_weight, signs
from program_cases import needs_kernels, open_engine

from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.kinds import BitMap, FloatMap
from bnn_tasks.runtime.layouts import bits_to_signs
from bnn_tasks.runtime.plan import infer_kinds
from bnn_tasks.runtime.program import fuse
from bnn_tasks.runtime.program.fuse import Fuser
from bnn_tasks.runtime.program.merge import merged
from bnn_tasks.runtime.program.steps import FusedStep
from bnn_tasks.runtime.simd import record as r

C = 64
RNG = np.random.default_rng(0)
TENSORS = {
    "w": pack_weight(signs(RNG, C, C, 3, 3)),
    "t": RNG.integers(-9, 9, C, dtype=np.int32),
    "f": RNG.integers(0, 2, C, dtype=np.uint8),
    "real": floats(RNG, C, C, 3, 3),
    "square": floats(RNG, C, C),
    "one": floats(RNG, 1, C, 3, 3),
    "slope": np.array([0.25], np.float32),
    "mix": floats(RNG, 2),
    **{name: floats(RNG, C) for name in ("s", "a", "b", "theta")},
}
BINARY = {"channels": C, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}
POOL = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}
SAME_POOL = {**POOL, "stride": [1, 1]}


def sign(name, x, **tensors):
    return node(name, "sign", x, {"groups": 1}, **tensors)


def binary(name, x):
    return node(name, "binary_conv2d", x, BINARY, weight="w", scale="s")


def norm(name, x):
    return node(name, "scale_shift", x, scale="a", shift="b")


def graph_of(nodes, outputs) -> Graph:
    return Graph(tuple(nodes), outputs, channels=C)


def tensors_of(nodes):
    return {name: TENSORS[name] for n in nodes for name in n.tensors.values()}


def steps_of(nodes, *wanted, size=(6, 8)):
    """Each step as words: its nodes, and what it puts in memory."""
    graph = graph_of(nodes, "images")
    tensors = tensors_of(nodes)
    fuser = Fuser(graph, tensors, infer_kinds(graph, tensors, *size), wanted)
    made = []
    for step in fuser.steps():
        if isinstance(step, FusedStep):
            made.append((" ".join(n.name for n in step.nodes), " ".join(step.writes)))
        else:
            made.append((f"[{step.node.name}]", " ".join(step.writes)))
    return made


def test_a_bireal_block_is_a_step():
    """Convolution, BatchNorm, residual, and the next block's sign: one map and one set of bits are written."""
    nodes = [
        sign("b0", "images"), binary("c0", "b0"), norm("n0", "c0"), node("y0", "add", "n0 images"),
        sign("b1", "y0"), binary("c1", "b1"), norm("n1", "c1"), node("y1", "add", "n1 y0"),
    ]  # fmt: skip
    assert steps_of(nodes, "y1") == [("b0", "b0"), ("c0 n0 y0 b1", "b1 y0"), ("c1 n1 y1", "y1")]


def test_a_react_block_is_a_step():
    nodes = [
        sign("b0", "images", threshold="theta"), binary("c", "b0"), norm("n", "c"), node("y", "add", "images n"),
        node("p", "prelu", "y", slope="slope", shift_in="a", shift_out="b"), sign("b1", "p", threshold="theta"),
        binary("z", "b1"), node("sum", "add", "z p"),
    ]  # fmt: skip
    assert steps_of(nodes, "sum") == [("b0", "b0"), ("c n y p b1", "b1 p"), ("z sum", "sum")]


def test_a_value_that_only_a_sign_reads_is_not_written():
    nodes = [node("c", "conv2d", "images", GEOMETRY, weight="real"), norm("n", "c"), sign("b", "n"), binary("y", "b")]
    assert steps_of(nodes, "y") == [("c n b", "b"), ("y", "y")]


def test_several_signs_of_one_value():
    nodes = [norm("n", "images"), sign("b0", "n"), sign("b1", "n", threshold="theta"), binary("y", "b0"),
             node("z", "binary_conv2d", "b1 y", BINARY, weight="w")]  # fmt: skip
    assert steps_of(nodes, "z") == [("n b0 b1", "b0 b1"), ("y", "y"), ("z", "z")]


def test_an_add_waits_for_its_other_operand():
    """It runs with the operand that is made last."""
    nodes = [sign("b", "images"), binary("left", "b"), node("right", "conv2d", "images", GEOMETRY, weight="real"),
             node("y", "add", "left right")]  # fmt: skip
    assert steps_of(nodes, "y") == [("b", "b"), ("left", "left"), ("right y", "y")]


def test_an_add_of_three_keeps_its_order():
    """(a + b) + c is not (b + c) + a: only the first two operands commute."""
    a, b = norm("a", "images"), node("b", "relu", "images")
    c = node("c", "conv2d", "images", GEOMETRY, weight="real")
    assert steps_of([a, b, c, node("y", "add", "a c b")], "y")[-1] == ("c y", "y")
    assert steps_of([a, b, c, node("y", "add", "a b c")], "y")[-2:] == [("c", "c"), ("y", "y")]


def test_a_weighted_sum_follows_its_first_operand_only():
    nodes = [node("a", "relu", "images"), node("c", "conv2d", "images", GEOMETRY, weight="real")]
    assert steps_of([*nodes, node("y", "weighted_sum", "c a", weight="mix")], "y")[-1] == ("c y", "y")
    assert steps_of([*nodes, node("y", "weighted_sum", "a c", weight="mix")], "y")[-2:] == [("c", "c"), ("y", "y")]


def test_a_value_added_to_itself_runs_alone():
    nodes = [norm("n", "images"), node("y", "add", "n n")]
    assert steps_of(nodes, "y") == [("n", "n"), ("[y]", "y")]


def test_what_reads_a_value_in_cache_and_a_value_made_from_it():
    """n + relu(n): the sum cannot follow in the step that makes n, since n is not in memory yet."""
    nodes = [norm("n", "images"), node("p", "relu", "n"), node("y", "add", "p n")]
    assert steps_of(nodes, "y") == [("n p", "n p"), ("y", "y")]


def test_wanted_values_are_written():
    nodes = [sign("b", "images"), binary("c", "b"), norm("n", "c"), node("y", "relu", "n")]
    assert steps_of(nodes, "y") == [("b", "b"), ("c n y", "y")]
    assert steps_of(nodes, "c", "y") == [("b", "b"), ("c n y", "c y")]
    assert steps_of(nodes, "b", "n") == [("b", "b"), ("c n", "n")]


def test_nodes_that_nobody_needs_are_left_out():
    nodes = [sign("b", "images"), binary("c", "b"), norm("n", "images")]
    assert steps_of(nodes, "n") == [("n", "n")]


def test_thresholds_end_a_step_in_bits():
    nodes = [sign("b", "images"),
             node("t", "binary_conv2d", "b", {**BINARY, "out_groups": 1}, weight="w", threshold="t", flip="f"),
             binary("y", "t")]  # fmt: skip
    assert steps_of(nodes, "y") == [("b", "b"), ("t", "t"), ("y", "y")]


@pytest.mark.parametrize(("groups", "fused"), [(1, True), (4, False)])
def test_bits_whose_groups_do_not_fill_words_are_packed_apart(groups, fused):
    nodes = [norm("n", "images"), node("b", "sign", "n", {"groups": groups})]
    assert steps_of(nodes, "b") == ([("n b", "b")] if fused else [("n", "n"), ("[b]", "b")])


def test_a_flattened_pixel_is_the_same_memory():
    nodes = [
        node("p", "global_avg_pool", "images"),
        node("f", "flatten", "p"),
        node("y", "linear", "f", weight="square"),
    ]
    assert steps_of(nodes, "y") == [("p", "p"), ("y", "y")]
    assert steps_of([node("f", "flatten", "images")], "f") == [("[f]", "f")]


def test_a_large_map_that_is_only_pooled_is_not_written(monkeypatch):
    nodes = [node("c", "conv2d", "images", GEOMETRY, weight="real"), norm("n", "c"), node("p", "max_pool2d", "n", POOL),
             node("y", "relu", "p")]  # fmt: skip
    assert steps_of(nodes, "y") == [("c n", "n"), ("p y", "y")]
    monkeypatch.setattr(fuse, "POOLED_BYTES", 1)
    assert steps_of(nodes, "y") == [("c n p y", "y")]
    assert steps_of(nodes, "n", "y") == [("c n", "n"), ("p y", "y")]
    assert steps_of([*nodes, sign("b", "n"), binary("z", "b")], "y", "z")[0] == ("c n b", "b n")


@needs_kernels
@pytest.mark.parametrize("side", [41, 101])
def test_a_kernel_with_many_kinds_of_border(tmp_path, side):
    """Their table would grow with the fourth power of the kernel; such a layer runs by its reference operation."""
    rng = np.random.default_rng(0)
    attrs = {"channels": 1, "kernel": [side, side], **GEOMETRY, "padding": [side // 2] * 2, "pad_value": 0}
    nodes = (sign("b", "images"), node("y", "binary_conv2d", "b", attrs, weight="w"))
    weight = {"w": pack_weight(signs(rng, 2, 1, side, side))}
    session = open_graph(tmp_path, Graph(nodes, "y", channels=1), weight)
    assert fuse.has_kernel(nodes[1], weight, BitMap(1, 1, 50, 50), FloatMap(2, 50, 50)) == (side == 41)
    image = floats(rng, 50, 50, 1)
    expected = session.engine.run_by_node(image, ["b", "y"])
    np.testing.assert_array_equal(session.engine.run(image, ["y"])["y"], expected["y"])
    given = bits_to_signs(expected["b"], BitMap(1, 1, 50, 50))
    np.testing.assert_array_equal(session.accumulate("y", given), expected["y"].transpose(2, 0, 1))


@needs_kernels
def test_names_of_a_file_never_meet_those_of_fused_steps(tmp_path):
    nodes = (node("c", "conv2d", "images", GEOMETRY, weight="real"), node("p", "max_pool2d", "c", POOL), sign("s", "p"),
             binary("y", "s"), node("s before p", "relu", "c"))  # fmt: skip
    tensors = tensors_of(nodes)
    engine = open_engine(graph_of(nodes, "y"), tensors)
    image = floats(np.random.default_rng(0), 12, 9, C)
    made, expected = engine.run(image, ["y", "s before p"]), engine.run_by_node(image, ["y", "s before p"])
    for name, value in expected.items():
        np.testing.assert_allclose(made[name], value, rtol=1e-5, atol=1e-4)


# Passes.

COUNTED, SCALE_SHIFT = (r.COUNTED, (1, 2, 3, 4, 5)), (r.SCALE_SHIFT, (6, 7))
ADD, PRELU = (r.ADD_MAP, (8, 256, 9)), (r.PRELU, (10, 11, 12, 13))
PACK, WRITE = (r.PACK, (14, 8, 15)), (r.WRITE, (16, 256))
END = (16, 256, 14, 8, 15)  # map, pixel, bits, bit pixel, thresholds
TAKEN = (r.COUNTED, (1, 2, 3, 6, 7))  # the layer's scale, then the BatchNorm's


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        ([COUNTED, WRITE], [COUNTED, WRITE]),
        ([COUNTED, SCALE_SHIFT, WRITE], [TAKEN, WRITE]),
        ([COUNTED, SCALE_SHIFT, SCALE_SHIFT, WRITE], [TAKEN, SCALE_SHIFT, WRITE]),
        ([COUNTED, ADD, SCALE_SHIFT, WRITE], [COUNTED, ADD, SCALE_SHIFT, WRITE]),
        ([PACK, WRITE], [(r.FINISH, END)]),
        ([PACK], [PACK]),
        ([ADD, PACK], [ADD, PACK]),
        ([WRITE, PACK], [WRITE, PACK]),
        ([ADD, PACK, WRITE], [(r.FINISH_ADD, (8, *END))]),
        ([PRELU, PACK, WRITE], [PRELU, (r.FINISH, END)]),
        ([ADD, PRELU, PACK, WRITE], [(r.FINISH_ADD_PRELU, (8, 10, 11, 12, 13, *END))]),
        ([COUNTED, ADD, PACK, WRITE], [(r.FINISH_COUNTED_ADD, (1, 2, 3, 4, 5, 8, *END))]),
        ([COUNTED, SCALE_SHIFT, ADD, PACK, WRITE], [(r.FINISH_COUNTED_ADD, (1, 2, 3, 6, 7, 8, *END))]),
        (
            [COUNTED, SCALE_SHIFT, ADD, PRELU, PACK, WRITE],
            [(r.FINISH_COUNTED_ADD_PRELU, (1, 2, 3, 6, 7, 8, 10, 11, 12, 13, *END))],
        ),
        ([ADD, ADD, PACK, WRITE], [ADD, (r.FINISH_ADD, (8, *END))]),
        ([ADD, PACK, PACK, WRITE], [ADD, PACK, (r.FINISH, END)]),
        ([ADD, PACK, WRITE, PRELU, WRITE], [ADD, PACK, WRITE, PRELU, WRITE]),
        ([], []),
    ],
)
def test_merged(passes, expected):
    assert merged(passes, whole=True) == expected


def test_a_last_word_that_goes_on_behind_the_last_block_is_cleared():
    finish = (r.FINISH, END)
    assert merged([PACK, WRITE], whole=True, tail=True) == [finish, (r.CLEAR_UNITS, PACK[1][:2])]
    assert merged([PACK], whole=True, tail=True) == [PACK]


def test_the_ends_of_partial_blocks_stay_apart():
    passes = [COUNTED, SCALE_SHIFT, ADD, PRELU, PACK, WRITE]
    assert merged(passes, whole=False) == [TAKEN, ADD, PRELU, PACK, WRITE]
    assert passes[0] == COUNTED  # what was given is left as it was


# Graphs on which fusing, memory or aliases once went wrong, or could.

HAZARDS = {
    "a value that is wanted and then added to": (
        [sign("b0", "images"), node("other", "relu", "images"), binary("y", "b0"), node("z", "add", "y other"),
         sign("b1", "z"), binary("end", "b1")],
        ["y", "end"],
    ),
    "a value that is written before a map is multiplied": (
        [node("other", "relu", "images"), node("c", "conv2d", "images", GEOMETRY, weight="real"),
         node("z", "multiply", "c other"), sign("b1", "z"), binary("end", "b1")],
        ["c", "end"],
    ),
    "a loaded value changed, written, then added to": (
        [norm("other", "images"), node("left", "conv2d", "images", GEOMETRY, weight="real"),
         node("moved", "max_pool2d", "left", SAME_POOL), node("x", "relu", "moved"),
         node("y", "add", "x other"), sign("b", "y"), binary("end", "b"), norm("again", "x")],
        ["end", "again"],
    ),
    "a pixel flattened after an operation without a kernel": (
        [node("p", "global_avg_pool", "images"), node("s", "sigmoid", "p"), node("f", "flatten", "s")],
        ["f"],
    ),
    "a pixel flattened between operations without a kernel": (
        [node("p", "global_avg_pool", "images"), node("s", "sigmoid", "p"), node("f", "flatten", "s"),
         node("z", "softmax", "f")],
        ["z"],
    ),
    "a pixel of one channel flattened, and both wanted": (
        [node("p", "global_avg_pool", "images"), node("s", "sigmoid", "p"), node("f", "flatten", "s"),
         node("y", "linear", "f", weight="square")],
        ["s", "f", "y"],
    ),
    "a map of one channel flattened, whose memory others take": (
        [node("x", "conv2d", "images", GEOMETRY, weight="one"), node("f", "flatten", "x"),
         node("y", "conv2d", "images", GEOMETRY, weight="one"), node("end", "max_pool2d", "y", SAME_POOL)],
        ["f", "end"],
    ),
    "a sum that is pooled to its own size": (
        [norm("other", "images"), node("c", "conv2d", "images", GEOMETRY, weight="real"), node("y", "add", "c other"),
         node("end", "max_pool2d", "y", SAME_POOL)],
        ["end"],
    ),
    "a layer that is pooled to its own size": (
        [node("c", "conv2d", "images", GEOMETRY, weight="real"), node("p", "max_pool2d", "c", SAME_POOL), norm("end", "p")],
        ["end"],
    ),
    "a layer's second input, pooled to its own size": (
        [sign("b", "images"), norm("other", "images"), node("c", "binary_conv2d", "b other", BINARY, weight="w", scale="s"),
         node("p", "max_pool2d", "c", SAME_POOL), sign("b2", "p"), binary("end", "b2")],
        ["end"],
    ),
    "pooled, then added to": (
        [norm("other", "images"), node("c", "conv2d", "images", GEOMETRY, weight="real"),
         node("p", "max_pool2d", "c", SAME_POOL), node("end", "add", "p other")],
        ["end"],
    ),
    "signs of a pooled layer": (
        [node("c", "conv2d", "images", GEOMETRY, weight="real"), node("p", "max_pool2d", "c", POOL), norm("n", "p"),
         node("h", "hardtanh", "n", {"min": -0.5, "max": 0.5}), sign("b", "h", threshold="theta"), binary("end", "b")],
        ["end"],
    ),
    "signs of a pooled map, which something else reads too": (
        [node("p", "max_pool2d", "images", POOL), norm("n", "p"), sign("b", "n"), binary("y", "b"), node("end", "add", "y n")],
        ["end"],
    ),
    "signs of a pool some of whose windows have no tap": (
        [node("q", "max_pool2d", "images", {**POOL, "kernel": [1, 1], "padding": [0, 0], "stride": [12, 1]}),
         node("p", "max_pool2d", "q", {**SAME_POOL, "kernel": [2, 3], "dilation": [2, 1]}),
         node("r", "relu", "p"), sign("b", "r"), binary("end", "b")],
        ["end"],
    ),
    "the input, wanted": ([norm("n", "images"), node("end", "relu", "n")], ["images", "end"]),
}  # fmt: skip


def test_a_long_chain_is_fused_in_seconds():
    nodes = [node("v0", "relu", "images"), *(node(f"v{i}", "relu", f"v{i - 1}") for i in range(1, 10_000))]
    graph = Graph(tuple(nodes), nodes[-1].name, channels=1)
    fuser = Fuser(graph, {}, infer_kinds(graph, {}, 1, 1), [nodes[-1].name])
    start = time.process_time()
    (step,) = fuser.steps()
    assert time.process_time() - start < 5
    assert step.nodes == nodes


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pooled_bytes", [1, 1 << 30])
@pytest.mark.parametrize("name", HAZARDS)
def test_hazards(monkeypatch, name, pooled_bytes, threads):
    monkeypatch.setattr(fuse, "POOLED_BYTES", pooled_bytes)
    nodes, wanted = HAZARDS[name]
    engine = open_engine(graph_of(nodes, wanted[-1]), tensors_of(nodes), threads)
    image = floats(np.random.default_rng(1), 12, 9, C)
    for _ in range(3):
        made, expected = engine.run(image, wanted), engine.run_by_node(image, wanted)
        for value in wanted:
            bound = 1e-5 * np.abs(expected[value]).max()
            np.testing.assert_allclose(made[value], expected[value], rtol=1e-5, atol=bound, err_msg=value)
