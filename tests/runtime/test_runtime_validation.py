"""Every rule of a graph, each broken once in a file whose digests are right."""

import mutate
import numpy as np
import pytest
from graphs import GEOMETRY, node, pack_weight, tiny_detector, tiny_net, tiny_terms

from bnn_tasks.runtime import ArtifactError
from bnn_tasks.runtime.format import Graph, Node, load, save


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    save(folder / "net", *tiny_net())
    save(folder / "detector", *tiny_detector())
    save(folder / "terms", *tiny_terms())
    return {name: (folder / name).read_bytes() for name in ("net", "detector", "terms")}


def refused(tmp_path, data, message):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ArtifactError, match=message) as caught:
        load(tmp_path / "file")
    assert str(caught.value).startswith(str(tmp_path / "file"))


def at(graph, name):
    return next(n for n in graph["nodes"] if n["name"] == name)


def setter(name, *keys):
    """Edit that sets a node's field: setter("conv1", "attrs", "stride")([0, 1])."""

    def make(value):
        def edit(graph):
            place = at(graph, name) if name else graph
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return edit

    return make


stride, padding = setter("conv1", "attrs", "stride"), setter("conv1", "attrs", "padding")
RULES = [
    (setter("", "extra")(1), "the graph to have the keys .*got also 'extra'"),
    (lambda g: g.pop("classes"), "`classes` is missing"),
    (setter("", "input")({"name": "images"}), "`input` .*`channels` is missing"),
    (setter("", "input", "channels")(0), "`input` channels"),
    (setter("", "input", "channels")(True), "`input` channels"),
    (setter("", "nodes")({}), "`nodes` to be a list"),
    (setter("", "nodes")([1]), "node 0 to be an object"),
    (lambda g: at(g, "norm").update(more=1), "node 0 .*got also 'more'"),
    (lambda g: at(g, "norm").pop("op"), "node 0 .*`op` is missing"),
    (setter("norm", "op")("softplus"), "the op of node `norm`"),
    (setter("norm", "op")(["relu"]), "the op of node `norm`"),
    (setter("norm", "name")(""), "the name of node 0"),
    (setter("norm", "name")("a\nb"), "the name of node 0"),
    (setter("norm", "name")(5), "the name of node 0"),
    (setter("norm", "name")("stem"), "unique, but got `stem` twice"),
    (setter("norm", "inputs")(["stem"]), "inputs of node `norm` to be made before it, but `stem`"),
    (setter("norm", "inputs")([]), "node `norm` .* 1 inputs or more"),
    (setter("norm", "inputs")(["images", "images"]), "inputs of node `norm`"),
    (setter("sum", "inputs")(["act"]), "node `sum` .* 2 inputs or more"),
    (setter("norm", "outputs")(["images"]), "node `norm` makes `images` again"),
    (setter("norm", "outputs")([]), "node `norm` to have the outputs"),
    (setter("norm", "outputs")(["norm", "more"]), "the outputs of node `norm`"),
    (lambda g: g["nodes"].reverse(), "made before it"),
    (setter("norm", "attrs", "x")(1), "the attrs of node `norm` .*'x'"),
    (lambda g: at(g, "conv1")["attrs"].pop("kernel"), "the attrs of node `conv1` .*`kernel` is missing"),
    (lambda g: at(g, "conv1")["attrs"].pop("out_groups"), "node `conv1` .*`out_groups` where tensor `threshold` is"),
    (setter("conv2", "attrs", "out_groups")(1), "node `conv2` .*`out_groups` where tensor `threshold` is"),
    (setter("conv1", "attrs", "out_groups")(3), "node `conv1` .*`out_groups` to divide"),
    (stride([0, 1]), "`conv1` .*`stride` to be an integer in .1, 1024., but got 0"),
    (stride([True, 1]), "`stride` to be an integer .*True"),
    (stride([1.0, 1]), "`stride` to be an integer .*1.0"),
    (stride([1]), "`stride` to be a list"),
    (stride(1), "`stride` to be a list"),
    (stride([1025, 1]), "`stride`"),
    (padding([-1, 0]), "`padding`"),
    (padding([1 << 62, 0]), "`padding`"),
    (setter("conv1", "attrs", "pad_value")(2), "`pad_value` to be one of .0, 1, -1., but got 2"),
    (setter("conv1", "attrs", "pad_value")(False), "`pad_value`"),
    (setter("conv1", "attrs", "groups")(3), "node `conv1` .*`groups` to divide"),
    (setter("conv1", "attrs", "groups")(2), "node `conv1` .*`weight` to have shape"),
    (setter("conv1", "attrs", "channels")(9), "node `conv1` .*`weight` to have shape"),
    (setter("conv1", "attrs", "kernel")([3, 4]), "node `conv1` .*`weight` to have shape"),
    (setter("sign", "attrs", "groups")(2), "node `conv1` .*bits of 8 channels packed in 1 groups"),
    (setter("sign", "attrs", "groups")(3), "node `sign` .*`groups` to divide 8"),
    (setter("flat_sign", "attrs", "groups")(2), "node `flat_sign` .*1 for a vector"),
    (setter("conv2", "inputs")(["stem"]), "node `conv2` .*Expected bits .*FloatMap"),
    (setter("act", "inputs")(["sign"]), "node `act` .*Expected a float map or vector .*BitMap"),
    (setter("flat", "inputs")(["flat"]), "made before it"),
    (setter("head", "inputs")(["flat"]), "node `head` .*vector of 8 bits"),
    (setter("sum", "inputs")(["act", "norm"]), "node `sum` .*one shape"),
    (setter("norm", "tensors")({"mean": "mean"}), "the tensors of node `norm` .*`std` is missing"),
    (setter("norm", "tensors", "extra")("mean"), "the tensors of node `norm` .*'extra'"),
    (setter("norm", "tensors", "mean")("nowhere"), "node `norm` .*`nowhere` .*missing"),
    (setter("norm", "tensors", "mean")(3), "tensor `mean` of node `norm`"),
    (setter("norm", "tensors", "mean")("w1"), "node `norm` .*`w1` .*float32 with 1 axes, but got uint8"),
    (
        lambda g: (at(g, "act")["tensors"].update(slope="mean"), at(g, "norm")["tensors"].update(mean="slope")),
        "node `norm` .*`mean` to have 3 values",
    ),
    (setter("stem", "tensors", "bias")("b3"), "node `stem` .*`bias` to have shape"),
    (lambda g: at(g, "stem")["tensors"].pop("bias"), "every tensor to be used, but no node uses .'stem.b'."),
    (lambda g: at(g, "conv1")["tensors"].pop("flip"), "node `conv1` .*`threshold` and `flip` together"),
    (setter("conv1", "tensors", "scale")("s2"), "node `conv1` .*one epilogue"),
    (setter("", "outputs")("nowhere"), "`outputs` to name values"),
    (setter("", "outputs")(["sum", 3]), "a leaf of `outputs`"),
    (setter("", "outputs")("sign"), "`outputs` to name float values"),
    (setter("", "outputs")([]), "`outputs` to name a value"),
    (setter("", "outputs")(["sum"] * 5000), "at most 4096 values"),
    (setter("", "outputs")([[[[[[[[[[[[[[[[["sum"]]]]]]]]]]]]]]]]]), "at most 16 levels"),
    (setter("", "classes")("cat"), "`classes` to be a list"),
    (setter("", "classes")(["cat", 1]), "a class"),
    (setter("", "detections")({"boxes": "sum", "scores": "sum", "labels": "sum"}), "outputs of one nms node"),
    (setter("", "resize")({"sizes": [[8, 8]]}), "`resize` .*`rule` is missing"),
    (setter("", "resize")({"sizes": [], "rule": "stretch"}), "resize"),
    (setter("", "resize")({"sizes": [[8]], "rule": "stretch"}), "resize"),
    (setter("", "resize")({"sizes": [[8, 0]], "rule": "stretch"}), "resize"),
    (setter("", "resize")({"sizes": [[8, 8193]], "rule": "stretch"}), "resize"),
    (setter("", "resize")({"sizes": [[8, 8]] * 33, "rule": "stretch"}), "resize"),
    (setter("", "resize")({"sizes": [[8, 8]], "rule": "magic"}), "resize.*rule"),
]  # fmt: skip
DETECTOR_RULES = [
    (setter("", "detections")({"boxes": "found.boxes"}), "`detections` .*`scores` is missing"),
    (setter("", "detections")(["found.boxes"]), "`detections` to be an object"),
    (setter("", "detections", "scores")("found.labels"), "outputs of one nms node"),
    (setter("", "classes")(["one"]), "`classes` to name the 2 classes of `nms`, but got 1"),
    (setter("", "resize")(None), "`detections` to have `resize`"),
    (setter("", "outputs")("found.boxes"), "`outputs` to name float values"),
    (setter("nms", "attrs", "num_classes")(3), "classes"),
    (setter("nms", "attrs", "top_k")(20_001), "`top_k` to be an integer"),
    (setter("nms", "attrs", "top_k")(10_001), "node `nms` .*levels"),
    (setter("nms", "attrs", "score_threshold")(1.5), "`score_threshold`"),
    (setter("nms", "attrs", "score_threshold")(False), "`score_threshold`"),
    (setter("nms", "inputs")(["boxes", "p0.cls"]), "node `nms` .*Expected .* boxes"),
    (setter("nms", "inputs")(["p0", "p0.cls", "p1.cls"]), "node `nms` .*Expected .* boxes"),
    (setter("boxes", "inputs")(["anchors", "p0.box", "p1.cls"]), "node `boxes`"),
    (setter("boxes", "attrs", "weights")([1, 1, 0, 1]), "`weights`"),
    (setter("boxes", "attrs", "clip")(100), "`clip`"),
    (setter("anchors", "attrs", "strides")([[4, 4]]), "node `anchors` .*`base` of shape"),
    (setter("anchors", "attrs", "strides")([[4, 4], [8]]), "`strides`"),
    (setter("anchors", "inputs")(["p0"]), "node `anchors` .*2 level maps"),
    (setter("pool", "attrs", "padding")([2, 1]), "node `pool` .*`padding` <= `kernel` / 2"),
    (setter("pool", "attrs", "ceil_mode")(0), "`ceil_mode` to be true or false"),
    (setter("pool", "attrs", "kernel")([1024, 1024]), "node `pool` .*shrinks to nothing"),
    (
        lambda g: (at(g, "stem")["attrs"].update(stride=[1, 1]), g["resize"].update(sizes=[[8, 8], [8192, 8192]])),
        "8192×8192 px needs .* bytes at once",
    ),
]
TERM_RULES = [
    (
        lambda g: (at(g, "bits")["tensors"].update(threshold="mix"), at(g, "mix")["tensors"].update(weight="t")),
        "node `bits` .*one threshold, or one for each of 8 channels, got 3",
    ),
    (setter("ones", "attrs", "groups")(3), "node `ones` .*`groups` to divide 8"),
    (setter("ones", "inputs")(["bits"]), "node `ones` .*float map or vector"),
    (setter("ones", "tensors", "threshold")("t"), "the tensors of node `ones` .*'threshold'"),
    (setter("second", "inputs")(["ones", "first", "first"]), "the inputs of node `second`"),
    (setter("second", "inputs")(["ones", "images"]), "node `second` .*one shape"),
    (setter("second", "inputs")(["ones", "bits"]), "node `second` .*Expected a float map"),
    (setter("second", "inputs")(["first", "first"]), "node `second` .*Expected bits of 8 channels"),
    (setter("product", "inputs")(["row.signs", "flat"]), "node `product` .*one shape"),
    (setter("mean", "attrs", "pad_value")(2), "`pad_value` to be one of"),
    (setter("mean", "attrs", "groups")(3), "node `mean` .*`groups` to divide 8"),
    (setter("mean", "attrs", "groups")(0), "`groups` to be an integer"),
    (setter("mean", "attrs", "kernel")([1025, 1]), "`kernel`|1024"),
    (setter("mean", "inputs")(["signs"]), "made before it"),
    (setter("scaled", "inputs")(["mean", "second"]), "node `scaled` .*factor of the same size, whose channels divide"),
    (setter("row.scaled", "inputs")(["product", "flat"]), "node `row.scaled` .*factor of the same size"),
    (setter("row.scaled", "inputs")(["product", "mean"]), "node `row.scaled` .*factor of the same size"),
    (setter("rest", "attrs", "index")(16), "`index` to be an integer in .0, 15."),
    (setter("rest", "attrs", "index")(-1), "`index`"),
    (setter("rest", "attrs", "index")(True), "`index`"),
    (setter("rest", "attrs", "groups")(1), "node `patches` .*packed patches of 72 taps in 2 groups"),
    (setter("rest", "attrs", "kernel")([3, 1]), "node `patches` .*packed patches of 72 taps"),
    (setter("rest", "attrs", "kernel")([1024, 1024]), "at most 1048576 channels"),
    (setter("rest", "outputs")(["signs"]), "node `rest` to have the outputs"),
    (setter("row", "attrs", "kernel")([3, 1]), "node `row` .*one window of one pixel"),
    (setter("row", "attrs", "groups")(2), "node `row` .*one window of one pixel"),
    (setter("patches", "inputs")(["bits"]), "node `patches` .*packed patches"),
    (setter("patches", "inputs")(["signs", "mean"]), "node `patches` .*one shape"),
    (setter("patches", "attrs", "groups")(5), "node `patches` .*`groups` to divide 72"),
    (setter("patches", "attrs", "channels")(144), "node `patches` .*`weight` to have shape"),
    (setter("patches", "tensors", "threshold")("t"), "the tensors of node `patches` .*'threshold'"),
    (setter("product", "inputs")(["signs"]), "node `product` .*vector of 4 bits"),
    (setter("real", "inputs")(["bits"]), "node `real` .*Expected a float map"),
    (setter("real", "inputs")(["images"]), "node `real` .*map of 8 channels"),
    (setter("real", "inputs")(["stem", "mean"]), "node `real` .*one shape"),
    (setter("real", "attrs", "groups")(3), "node `real` .*`groups` to divide 8"),
    (setter("real", "attrs", "groups")(1), "node `real` .*`weight` to have shape"),
    (setter("real", "tensors", "scale")("mix"), "node `real` .*`scale` to have shape"),
    (setter("real", "attrs", "out_groups")(1), "the attrs of node `real` .*'out_groups'"),
    (setter("head", "inputs")(["stem"]), "node `head` .*vector of 4 values"),
    (setter("head", "attrs", "features")(5), "node `head`"),
    (setter("mix", "inputs")(["scaled", "real"]), "node `mix` .*2 weights, one an input, but got 3"),
    (setter("mix", "inputs")(["scaled", "real", "mean"]), "node `mix` .*one shape"),
    (
        lambda g: (at(g, "act")["tensors"].update(slope_above="t"), at(g, "bits")["tensors"].update(threshold="above")),
        "node `act` .*`slope_above` to have 8 values",
    ),
    (setter("half", "attrs", "channels")(3), "node `half` .*`channels` to divide 8"),
    (setter("half", "attrs", "channels")(0), "`channels` to be an integer"),
    (setter("placed", "inputs")(["act"]), "node `placed` .*map of 4 channels"),
    (setter("placed", "inputs")(["half", "half"]), "the inputs of node `placed`"),
    (setter("placed", "tensors", "scale")("t"), "node `placed` .*float32 with 3 axes"),
    (setter("", "outputs")("signs"), "`outputs` to name float values"),
    (setter("", "resize")({"sizes": [[16, 16], [18, 16]], "rule": "stretch"}), "node `placed` .*map of 8×8 px, to which"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), RULES)
def test_rules(tmp_path, files, edit, message):
    refused(tmp_path, mutate.with_graph(files["net"], lambda g: (edit(g), None)[1]), message)


@pytest.mark.parametrize(("edit", "message"), DETECTOR_RULES)
def test_detector_rules(tmp_path, files, edit, message):
    refused(tmp_path, mutate.with_graph(files["detector"], lambda g: (edit(g), None)[1]), message)


@pytest.mark.parametrize(("edit", "message"), TERM_RULES)
def test_rules_of_terms(tmp_path, files, edit, message):
    refused(tmp_path, mutate.with_graph(files["terms"], lambda g: (edit(g), None)[1]), message)


def test_bits_cannot_go_on_from_a_sum(tmp_path, files):
    def edit(graph):
        at(graph, "conv1")["inputs"] = ["sign", "stem"]

    refused(tmp_path, mutate.with_graph(files["net"], edit), "node `conv1` .*one input where the sums become bits")


@pytest.mark.parametrize("index", range(len(mutate.TEXTS)))
def test_hostile_texts(tmp_path, files, index):
    refused(tmp_path, mutate.with_text(files["net"], mutate.TEXTS[index]), "Expected")


def with_tensor(data, name, change):
    """The file with a tensor's bytes changed in place, signed again."""
    header, body = mutate.split(data)
    changed = bytearray(body)
    first, last = header[name]["data_offsets"]
    changed[first:last] = change(body[first:last])
    return mutate.resign(header, bytes(changed))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("stem.w", lambda b: np.full(len(b) // 4, np.nan, "<f4").tobytes(), "`stem.w` to hold finite numbers"),
        ("b2", lambda b: np.full(len(b) // 4, np.inf, "<f4").tobytes(), "`b2` to hold finite numbers"),
        ("std", lambda b: bytes(len(b)), "node `norm` .*`std` to be above 0"),
        ("w2", lambda b: b"\xff" * len(b), "node `conv2` .*tail bits of tensor `weight`"),
        ("f1", lambda b: b"\x02" * len(b), "node `conv1` .*`flip` to hold 0 and 1"),
    ],
)
def test_contents_of_tensors(tmp_path, files, name, change, message):
    refused(tmp_path, with_tensor(files["net"], name, change), message)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("w2", lambda b: b"\xff" * len(b), "node `patches` .*tail bits of tensor `weight`"),
        ("w3", lambda b: b"\xff" * len(b), "node `real` .*tail bits of tensor `weight`"),
        ("places", lambda b: np.full(len(b) // 4, np.nan, "<f4").tobytes(), "`places` to hold finite numbers"),
        ("mix", lambda b: np.full(len(b) // 4, np.inf, "<f4").tobytes(), "`mix` to hold finite numbers"),
    ],
)
def test_contents_of_tensors_of_terms(tmp_path, files, name, change, message):
    refused(tmp_path, with_tensor(files["terms"], name, change), message)


def test_a_hostile_file_cannot_ask_for_much_memory_or_time(tmp_path):
    wide = {**GEOMETRY, "padding": [1024, 1024]}
    chain = [node("n0", "conv2d", "images", wide, weight="w")]
    chain += [node(f"n{i}", "conv2d", f"n{i - 1}", wide, weight="w") for i in range(1, 9)]
    small = {"w": np.ones((1, 1, 1, 1), np.float32)}
    resize = {"sizes": [[8, 8]], "rule": "stretch"}
    with pytest.raises(ArtifactError, match=r"node `n3` .*at most 8192 px"):
        save(tmp_path / "a", Graph(tuple(chain), "n8", 1, resize=resize), small)
    pool = {"kernel": [1024, 1024], "stride": [1, 1], "padding": [512, 512], "ceil_mode": False}
    slow = [node("y", "avg_pool2d", "images", pool | {"count_include_pad": True})]
    with pytest.raises(ArtifactError, match="multiply-adds; the limit"):
        save(tmp_path / "a", Graph(tuple(slow), "y", 1, resize={"sizes": [[8000, 8000]], "rule": "stretch"}), {})
    double = [node("n0", "concat", "images images")]
    double += [node(f"n{i}", "concat", f"n{i - 1} n{i - 1}") for i in range(1, 200)]
    with pytest.raises(ArtifactError, match="at most 1048576 channels"):
        save(tmp_path / "a", Graph(tuple(double), "images", 1), {})
    residual = {"kernel": [9, 9], **GEOMETRY, "pad_value": 0, "index": 15}
    slow = [Node("r", "residual_sign", ("images",), ("signs", "beta"), residual)]
    with pytest.raises(ArtifactError, match=r"bytes at once; the limit|multiply-adds; the limit"):
        save(
            tmp_path / "a",
            Graph(tuple(slow), "beta", 64, resize={"sizes": [[8000, 8000]], "rule": "stretch"}),
            {},
        )
    depthwise = {"channels": 1 << 20, "kernel": [9, 9], **GEOMETRY, "groups": 1 << 20, "pad_value": 0}
    bits = [node("y", "binary_conv2d", "b", depthwise, weight="w")]
    sign = [node("w1", "conv2d", "images", GEOMETRY, weight="v"), node("b", "sign", "w1", {"groups": 1 << 20})]
    tensors = {"w": np.zeros((1 << 20, 11), np.uint8), "v": np.ones((1 << 20, 1, 1, 1), np.float32)}
    graph = Graph(tuple(sign + bits + [
        node(f"y{i}", "binary_conv2d", "b", depthwise | {"stride": [1, 1 + i]}, weight="w") for i in range(1, 9)
    ]), "w1", 1)  # fmt: skip
    with pytest.raises(ArtifactError, match=r"weights need .* bytes at work"):
        save(tmp_path / "a", graph, tensors)


def test_structure_is_checked_without_a_declared_size(tmp_path):
    nodes = (
        node("flat", "flatten", "images"),
        node("bits", "sign", "flat", {"groups": 1}),
        node("y", "binary_linear", "bits", {"features": 12}, weight="w"),
        node("z", "scale_shift", "y", scale="s", shift="s"),
    )
    tensors = {"w": pack_weight(np.ones((4, 12))), "s": np.ones(5, np.float32)}
    with pytest.raises(ArtifactError, match=r"node `z` .*`scale` to have 4 values"):
        save(tmp_path / "a", Graph(nodes, "z"), tensors)
