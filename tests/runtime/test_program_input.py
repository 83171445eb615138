"""Images of all layouts and types, values that are no numbers, arguments out of range."""

import numpy as np
import pytest
from graphs import GEOMETRY, floats, node, open_graph, pack_weight, signs, tiny_net
from program_cases import needs_kernels, open_engine

from bnn_tasks.runtime.format import Graph
from bnn_tasks.runtime.session import Session, cores

CONV = {"channels": 20, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return open_graph(tmp_path_factory.mktemp("net"), *tiny_net())


def image_of(height=21, width=37, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    made = raw[1:].view(np.float32).reshape(x.shape)
    made[...] = x
    assert not made.flags.aligned
    return made


def read_only(x):
    made = x.copy()
    made.flags.writeable = False
    return made


LAYOUTS = {
    "channels first": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    "columns first": lambda x: np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2),
    "fortran": np.asfortranarray,
    "upside down": lambda x: x[::-1].copy()[::-1],
    "mirrored": lambda x: x[:, ::-1].copy()[:, ::-1],
    "blue first": lambda x: x[..., ::-1].copy()[..., ::-1],
    "all reversed": lambda x: x[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "a window of a larger image": lambda x: np.pad(x, ((2, 3), (4, 5), (1, 2)))[2:-3, 4:-5, 1:-2],
    "every second pixel": lambda x: x.repeat(2, 0).repeat(3, 1)[::2, ::3],
    "read only": read_only,
    "unaligned": unaligned,
    "unaligned, channels first": lambda x: unaligned(x.transpose(2, 0, 1)).transpose(1, 2, 0),
}


@needs_kernels
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(21, 37), (1, 1), (2, 16), (3, 17)])
def test_layouts_of_an_image(net, layout, size):
    """The same numbers give the same values; the image is left as it was."""
    x = image_of(*size)
    given = LAYOUTS[layout](x)
    np.testing.assert_array_equal(given, x)
    expected = net.engine.run(x, ["images", "sum", "head"])
    made = net.engine.run(given, ["images", "sum", "head"])
    for name, value in expected.items():
        np.testing.assert_array_equal(made[name], value, err_msg=name)
    np.testing.assert_array_equal(given, x)


@needs_kernels
def test_one_value_for_all_pixels(net):
    """Strides of 0."""
    x = np.broadcast_to(np.float32(0.3), (9, 20, 3))
    np.testing.assert_array_equal(net.engine.run(x, ["head"])["head"], net.engine.run(x.copy(), ["head"])["head"])


@pytest.mark.parametrize("layout", ["every second", "reversed", "transposed", "unaligned", "read only"])
def test_layouts_of_a_batch(net, layout):
    x = np.random.default_rng(0).random((3, 3, 12, 20), np.float32)
    given = {
        "every second": lambda: x.repeat(2, 0).repeat(2, 3)[::2, :, :, ::2],
        "reversed": lambda: x[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
        "transposed": lambda: np.ascontiguousarray(x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0),
        "unaligned": lambda: unaligned(x),
        "read only": lambda: read_only(x),
    }[layout]()
    np.testing.assert_array_equal(net.forward(given)["logits"], net.forward(x)["logits"])


@needs_kernels
@pytest.mark.parametrize("layout", ["channels first", "upside down", "mirrored", "blue first", "read only"])
@pytest.mark.parametrize("normalized", [True, False])
def test_bytes(layout, normalized):
    """They stand for themselves over 255, bit for bit as if the caller had divided."""
    graph, tensors = tiny_net()
    if not normalized:
        _, stem, *rest = graph.nodes
        stem = node("stem", "conv2d", "images", stem.attrs, **stem.tensors)
        graph = Graph((stem, *rest), graph.outputs)
        tensors = {name: values for name, values in tensors.items() if name not in ("mean", "std")}
    engine = open_engine(graph, tensors)
    octets = np.random.default_rng(0).integers(0, 256, (19, 33, 3), dtype=np.uint8)
    octets.reshape(-1)[:256] = np.arange(256)
    real = octets.astype(np.float32) / np.float32(255)
    wanted = [n.name for n in graph.nodes]
    expected, by_node = engine.run(real, wanted), engine.run_by_node(octets, wanted)
    made = engine.run(LAYOUTS[layout](octets), wanted)
    for name in wanted:
        np.testing.assert_array_equal(made[name], expected[name], err_msg=name)
    if normalized:
        np.testing.assert_array_equal(made["norm"], by_node["norm"])
    np.testing.assert_allclose(made["stem"], by_node["stem"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.int32, np.uint8, bool, np.complex64])
def test_other_types_are_refused(net, dtype):
    with pytest.raises(
        ValueError, match=r"Expected `x` .* float32 array of shape \(N, 3, H, W\), but got .* \(1, 3, 8, 8\)"
    ):
        net.forward(np.zeros((1, 3, 8, 8), dtype))
    with pytest.raises(ValueError, match=r"Expected `x` to be a float32 array of shape \(3, H, W\)"):
        net.values(np.zeros((3, 8, 8), dtype))


@pytest.mark.parametrize("shape", [(1, 3, 0, 8), (1, 3, 8, 0), (1, 3, 0, 0), (0, 3, 0, 8), (1, 3, 8193, 1)])
def test_images_without_pixels_or_too_large(net, shape):
    with pytest.raises(ValueError, match=r"sides in \[1, 8192\] px"):
        net.forward(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1, 0, 8, 8), (1, 2, 8, 8), (0, 4, 8, 8), (3, 8, 8), (8,), ()])
def test_other_shapes(net, shape):
    with pytest.raises(ValueError, match=r"Expected `x` to be a float32 array of shape \(N, 3, H, W\)"):
        net.forward(np.zeros(shape, np.float32))


def test_a_batch_of_none(net):
    made = net.forward(np.zeros((0, 3, 8, 10), np.float32))
    assert made["logits"].shape == (0, 5)
    assert [m.shape for m in made["maps"]] == [(0, 8, 4, 5)] * 2
    assert made["logits"].dtype == np.float32


@pytest.mark.parametrize("threads", [0, -1, True, False, 1.0, "2", None, 99_999, cores() + 1, np.int64(1)])
def test_threads_out_of_range(net, threads):
    with pytest.raises(ValueError, match=r"Expected `threads` to be an integer in \[1, \d+\], the cores .* but got"):
        Session(net.path, threads)


# No numbers. 20 channels: lanes and bits behind the last one hold what is none of the net's business.


def sign_net(*between):
    """images -> ... -> sign -> binary convolution."""
    rng = np.random.default_rng(0)
    last = between[-1].name if between else "images"
    nodes = (*between, node("bits", "sign", last, {"groups": 1}, threshold="t"),
             node("y", "binary_conv2d", "bits", CONV, weight="w"))  # fmt: skip
    tensors = {"t": floats(rng, 20), "w": pack_weight(signs(rng, 20, 20, 3, 3))}
    return Graph(nodes, "y", channels=20), tensors


@pytest.mark.parametrize("count", [1, 7, 64 * 20])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("fused", [True, False])
def test_nan_at_a_sign(count, threads, fused):
    """Told by the sign's name, with how many there are; the next image is as welcome as ever."""
    between = [node("r", "relu", "images")] if fused else []
    graph, tensors = sign_net(*between)
    engine = open_engine(graph, tensors, threads)
    image = floats(np.random.default_rng(1), 8, 8, 20)
    expected = engine.run(image, ["y"])["y"]
    spoiled = image.copy()
    spoiled.reshape(-1)[np.random.default_rng(2).permutation(image.size)[:count]] = np.nan
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"net: node `bits` \(sign\): .* but {count} values are NaN"):
            engine.run(spoiled, ["y"])
        np.testing.assert_array_equal(engine.run(image, ["y"])["y"], expected)


def test_nan_at_a_finishing_pass():
    """64 channels: bits and map are written in one pass, which counts too."""
    rng = np.random.default_rng(0)
    nodes = (
        node("b0", "sign", "images", {"groups": 1}),
        node("c", "binary_conv2d", "b0", {**CONV, "channels": 64}, weight="w", scale="s"),
        node("big", "scale_shift", "images", scale="s", shift="s"),
        node("bigger", "multiply", "big big"),
        node("sum", "add", "c bigger"),
        node("less", "scale_shift", "images", scale="m", shift="m"),
        node("lesser", "multiply", "less bigger"),
        node("nothing", "add", "sum lesser"),
        node("b1", "sign", "nothing", {"groups": 1}),
        node("y", "binary_conv2d", "b1 nothing", {**CONV, "channels": 64}, weight="w"),
    )
    tensors = {
        "w": pack_weight(signs(rng, 64, 64, 3, 3)),
        "s": np.full(64, 1, np.float32),
        "m": np.full(64, -1, np.float32),
    }
    engine = open_engine(Graph(nodes, "y", channels=64), tensors)
    image = np.full((4, 5, 64), 1e5, np.float32)
    image[1, 2, :9] = 1e30  # squared infinite, then infinity less infinity
    with pytest.raises(ValueError) as expected, np.errstate(all="ignore"):  # noqa: PT011
        engine.run_by_node(image, ["y"])
    with pytest.raises(ValueError, match=r"node `b1` \(sign\): .* but 9 values are NaN") as made:
        engine.run(image, ["y"])
    assert str(made.value).endswith(str(expected.value))


TWO_SIGNS = {
    "two signs of one value": (
        [node("r", "hardtanh", "images", {"min": -1, "max": 1}), node("a", "sign", "r", {"groups": 1}),
         node("b", "sign", "r", {"groups": 1}, threshold="t")], np.nan),
    "no number at the second sign only": (
        [node("r", "relu", "images"), node("a", "sign", "r", {"groups": 1}),
         node("q", "scale_shift", "r", scale="zero", shift="t"), node("b", "sign", "q", {"groups": 1}, threshold="t")], np.inf),
    "at both of two signs": (
        [node("r", "relu", "images"), node("a", "sign", "r", {"groups": 1}),
         node("q", "scale_shift", "r", scale="t", shift="t"), node("b", "sign", "q", {"groups": 1})], np.nan),
}  # fmt: skip


@needs_kernels
@pytest.mark.parametrize("channels", [20, 64])
@pytest.mark.parametrize("name", TWO_SIGNS)
def test_nan_at_one_of_two_signs_of_a_step(name, channels):
    """The first sign that meets one is named, with its own count."""
    nodes, spoil = TWO_SIGNS[name]
    rng = np.random.default_rng(0)
    conv = {**CONV, "channels": channels}
    nodes = (
        *nodes,
        node("ya", "binary_conv2d", "a", conv, weight="w"),
        node("yb", "binary_conv2d", "b ya", conv, weight="w"),
    )
    tensors = {"t": floats(rng, channels), "zero": np.zeros(channels, np.float32)}
    tensors["w"] = pack_weight(signs(rng, channels, channels, 3, 3))
    tensors = {key: tensors[key] for n in nodes for key in n.tensors.values()}
    engine = open_engine(Graph(nodes, "yb", channels=channels), tensors)
    image = floats(rng, 5, 6, channels)
    image[0, 0, 0] = image[2, 3, 1] = image[4, 5, -1] = spoil
    with pytest.raises(ValueError) as expected, np.errstate(all="ignore"):  # noqa: PT011
        engine.run_by_node(image, ["yb"])
    assert "3 values are NaN" in str(expected.value)
    with pytest.raises(ValueError) as made:  # noqa: PT011
        engine.run(image, ["yb"])
    assert str(made.value) == f"net: {expected.value}"


POOLS = {"overlapping": ([3, 3], [1, 1]), "apart": ([2, 2], [2, 2]), "with gaps": ([1, 1], [3, 3])}


@needs_kernels
@pytest.mark.parametrize("pool", POOLS)
def test_nan_at_a_sign_of_a_pooled_map(pool):
    """As many as the pooled map has, and none where no window holds one."""
    kernel, stride = POOLS[pool]
    attrs = {"kernel": kernel, "stride": stride, "padding": [0, 0], "dilation": [1, 1], "ceil_mode": False}
    graph, tensors = sign_net(node("r", "relu", "images"), node("p", "max_pool2d", "r", attrs))
    engine = open_engine(graph, tensors)
    image = floats(np.random.default_rng(1), 8, 9, 20)
    image[4, 4, 2] = image[4, 5, 2] = image[4, 4, 19] = np.nan

    def answer(run):
        try:
            return run(image, ["y"])["y"].tolist()
        except ValueError as error:
            return str(error).removeprefix("net: ")

    assert answer(engine.run) == answer(engine.run_by_node)


@needs_kernels
@pytest.mark.parametrize("channels", [20, 64])
def test_infinity_and_nan_pass_as_in_the_reference(channels):
    """Through everything that takes no sign."""
    rng = np.random.default_rng(0)
    pool = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "ceil_mode": False}
    real = {name: conv for name, conv in CONV.items() if name not in ("kernel", "channels", "pad_value")}
    nodes = (
        node("norm", "normalize", "images", mean="a", std="std"),
        node("conv", "conv2d", "norm", {**real, "groups": 4}, weight="k", bias="a"),
        node("bn", "scale_shift", "conv", scale="a", shift="b"),
        node("relu", "relu", "bn"),
        node("clip", "hardtanh", "conv", {"min": -1, "max": 1}),
        node("prelu", "prelu", "conv", slope="a", slope_above="b", shift_in="a", shift_out="b"),
        node("plain", "prelu", "norm", slope="one"),
        node("sum", "add", "bn prelu"),
        node("product", "multiply", "relu clip"),
        node("mix", "weighted_sum", "sum plain", weight="mix"),
        node("most", "max_pool2d", "plain", {**pool, "dilation": [1, 1]}),
        node("mean", "avg_pool2d", "plain", {**pool, "count_include_pad": False}),
        node("packed", "binary_weight_conv2d", "norm", {**CONV, "channels": channels}, weight="w", scale="a"),
        node("all", "global_avg_pool", "norm"),
    )
    tensors = {
        **{name: floats(rng, channels) for name in "ab"},
        "std": np.full(channels, 0.5, np.float32),
        "k": floats(rng, channels, channels // 4, 3, 3),
        "one": np.array([0.25], np.float32),
        "mix": floats(rng, 2),
        "w": pack_weight(signs(rng, channels, channels, 3, 3)),
    }
    engine = open_engine(Graph(nodes, [n.name for n in nodes], channels=channels), tensors)
    image = floats(rng, 9, 10, channels)
    image[1, 1, 0], image[7, 7, 3], image[4, 4, 5], image[0, 9, 7] = np.inf, -np.inf, np.nan, np.inf
    wanted = [n.name for n in nodes]
    with np.errstate(all="ignore"):
        expected = engine.run_by_node(image, wanted)
    made = engine.run(image, wanted)
    for name in wanted:
        assert not np.isfinite(expected[name]).all() or name == "clip"
        np.testing.assert_allclose(made[name], expected[name], rtol=1e-4, atol=1e-4, equal_nan=True, err_msg=name)
