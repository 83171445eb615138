"""Graphs written by hand for the runtime's tests."""

from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import Graph, Node, save

GEOMETRY = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}


def node(name: str, op: str, inputs: str, attrs: dict[str, Any] | None = None, **tensors: str) -> Node:
    """A node whose one output bears its name; inputs are separated by blanks."""
    return Node(name, op, tuple(inputs.split()), (name,), attrs or {}, tensors)


def pack_weight(signs: np.ndarray) -> np.ndarray:
    """Canonical packed rows of ±1 weights (O, ...)."""
    return np.packbits(signs.reshape(len(signs), -1) > 0, axis=1, bitorder="little")


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def open_graph(folder: Path, graph: Graph, tensors: dict[str, np.ndarray], threads: int = 1) -> Session:
    save(folder / "net.safetensors", graph, tensors)
    return Session(folder / "net.safetensors", threads)


def run_nodes(
    folder: Path, nodes: list[Node], tensors: dict[str, np.ndarray], x: np.ndarray, outputs: Any = None
) -> Any:
    """Output of a graph (its last node's, unless told) for a batch x."""
    graph = Graph(tuple(nodes), nodes[-1].name if outputs is None else outputs, channels=x.shape[1])
    return open_graph(folder, graph, tensors).forward(x)


def tiny_net() -> tuple[Graph, dict[str, np.ndarray]]:
    """One of nearly everything for a tensor: float stem, both binary epilogues, residual, pools, linear head."""
    rng = np.random.default_rng(0)
    conv = {"channels": 8, "kernel": [3, 3], **GEOMETRY, "pad_value": 0}
    nodes = (
        node("norm", "normalize", "images", mean="mean", std="std"),
        node("stem", "conv2d", "norm", {**GEOMETRY, "stride": [2, 2]}, weight="stem.w", bias="stem.b"),
        node("sign", "sign", "stem", {"groups": 1}, threshold="sign.t"),
        node("conv1", "binary_conv2d", "sign", {**conv, "out_groups": 2}, weight="w1", threshold="t1", flip="f1"),
        node("conv2", "binary_conv2d", "conv1", {**conv, "groups": 2}, weight="w2", scale="s2", bias="b2"),
        node("act", "prelu", "conv2", slope="slope"),
        node("sum", "add", "act stem"),
        node("pool", "global_avg_pool", "sum"),
        node("flat", "flatten", "pool"),
        node("flat_sign", "sign", "flat", {"groups": 1}),
        node("head", "binary_linear", "flat_sign", {"features": 8}, weight="w3", scale="s3", bias="b3"),
    )
    tensors = {
        "mean": np.full(3, 0.5, np.float32),
        "std": np.full(3, 0.25, np.float32),
        "stem.w": floats(rng, 8, 3, 3, 3),
        "stem.b": floats(rng, 8),
        "sign.t": floats(rng, 8),
        "w1": pack_weight(signs(rng, 8, 8, 3, 3)),
        "t1": rng.integers(-9, 9, 8, dtype=np.int32),
        "f1": rng.integers(0, 2, 8, dtype=np.uint8),
        "w2": pack_weight(signs(rng, 8, 4, 3, 3)),
        "s2": floats(rng, 8),
        "b2": floats(rng, 8),
        "slope": np.array([0.25], np.float32),
        "w3": pack_weight(signs(rng, 5, 8)),
        "s3": floats(rng, 5),
        "b3": floats(rng, 5),
    }
    return Graph(nodes, {"logits": "head", "maps": ["sum", "stem"]}), tensors


def tiny_detector(
    classes: int = 2, size: tuple[int, int] = (32, 48), channels: int = 3
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Two levels, two anchors a cell, one head shared by both levels."""
    rng = np.random.default_rng(1)
    conv = {"channels": 8, "kernel": [3, 3], **GEOMETRY, "pad_value": 1}
    nodes = [
        node("stem", "conv2d", "images", {**GEOMETRY, "stride": [4, 4]}, weight="stem.w"),
        node("bits", "sign", "stem", {"groups": 1}),
        node("p0", "binary_conv2d", "bits", conv, weight="w", scale="s"),
        node("pool", "max_pool2d", "p0",
             {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "ceil_mode": False}),
        node("p1", "scale_shift", "pool", scale="s", shift="shift"),
    ]  # fmt: skip
    for level in ("p0", "p1"):
        nodes.append(node(f"{level}.cls", "conv2d", level, GEOMETRY, weight="cls.w", bias="cls.b"))
        nodes.append(node(f"{level}.box", "conv2d", level, GEOMETRY, weight="box.w"))
    nodes += [
        node("anchors", "anchors", "p0 p1", {"strides": [[4, 4], [8, 8]]}, base="base"),
        node("boxes", "decode_boxes", "anchors p0.box p1.box", {"weights": [1, 1, 1, 1], "clip": 4.135}),
    ]
    attrs = {
        "num_classes": classes,
        "score_threshold": 0.3,
        "top_k": 50,
        "iou_threshold": 0.5,
        "max_detections": 20,
    }
    found = ("found.boxes", "found.scores", "found.labels")
    nodes.append(Node("nms", "nms", ("boxes", "p0.cls", "p1.cls"), found, attrs, {}))
    half = np.array([[4, 4], [6, 3]], np.float32)
    base = np.concatenate([-half, half], axis=1)
    tensors = {
        "stem.w": floats(rng, 8, channels, 3, 3),
        "w": pack_weight(signs(rng, 8, 8, 3, 3)),
        "s": np.full(8, 0.05, np.float32),
        "shift": floats(rng, 8),
        "cls.w": 0.2 * floats(rng, 2 * classes, 8, 3, 3),
        "cls.b": np.full(2 * classes, -0.5, np.float32),
        "box.w": 0.05 * floats(rng, 8, 8, 3, 3),
        "base": np.stack([base, 2 * base]),
    }
    graph = Graph(
        tuple(nodes),
        {"logits": ["p0.cls", "p1.cls"], "deltas": ["p0.box", "p1.box"]},
        detections=dict(zip(("boxes", "scores", "labels"), found, strict=True)),
        classes=tuple(f"class {k}" for k in range(classes)),
        resize={"sizes": [list(size)], "rule": "letterbox"},
        channels=channels,
    )
    return graph, tensors


def tiny_terms() -> tuple[Graph, dict[str, np.ndarray]]:
    """One of every op that a method of several planes needs, for an input of 16×16."""
    rng = np.random.default_rng(2)
    windows = {"kernel": [3, 3], **GEOMETRY, "pad_value": 0}
    one = {"kernel": [1, 1], **GEOMETRY, "padding": [0, 0], "pad_value": 0}
    conv = {"channels": 8, **windows}
    nodes = (
        node("stem", "conv2d", "images", {**GEOMETRY, "stride": [2, 2]}, weight="stem.w"),
        node("bits", "sign", "stem", {"groups": 1}, threshold="t"),
        node("ones", "ones", "stem", {"groups": 1}),
        node("first", "binary_conv2d", "bits", conv, weight="w0", scale="s0"),
        node("second", "binary_conv2d", "ones first", conv, weight="w1", scale="s1", bias="b1"),
        node("mean", "window_mean", "stem", windows),
        node("scaled", "multiply", "second mean"),
        Node("rest", "residual_sign", ("stem",), ("signs", "beta"), {**windows, "groups": 2, "index": 1}),
        node("patches", "binary_patches", "signs", {"channels": 72, "groups": 2}, weight="w2", scale="s2"),
        node("planes", "multiply", "patches beta"),
        node("real", "binary_weight_conv2d", "stem planes", {**conv, "groups": 2}, weight="w3", scale="s3", bias="b3"),
        node("mix", "weighted_sum", "scaled real stem", weight="mix"),
        node("act", "prelu", "mix", slope="below", slope_above="above"),
        node("half", "channel_group_mean", "act", {"channels": 4}),
        node("placed", "scale_map", "half", scale="places"),
        node("pool", "global_avg_pool", "placed"),
        node("flat", "flatten", "pool"),
        Node("row", "residual_sign", ("flat",), ("row.signs", "row.beta"), {**one, "index": 0}),
        node("product", "binary_linear", "row.signs", {"features": 4}, weight="w4"),
        node("row.scaled", "multiply", "product row.beta"),
        node("head", "binary_weight_linear", "flat row.scaled", {"features": 4}, weight="w5", scale="s5", bias="b5"),
    )
    tensors = {
        "stem.w": floats(rng, 8, 3, 3, 3),
        "t": np.array([0.25], np.float32),
        "w0": pack_weight(signs(rng, 8, 8, 3, 3)),
        "w1": pack_weight(signs(rng, 8, 8, 3, 3)),
        "w2": pack_weight(signs(rng, 8, 4, 3, 3)),
        "w3": pack_weight(signs(rng, 8, 4, 3, 3)),
        "w4": pack_weight(signs(rng, 5, 4)),
        "w5": pack_weight(signs(rng, 5, 4)),
        **{name: floats(rng, 8) for name in ("s0", "s1", "b1", "s2", "s3", "b3", "below", "above")},
        "mix": floats(rng, 3),
        "places": floats(rng, 4, 8, 8),
        "s5": floats(rng, 5),
        "b5": floats(rng, 5),
    }
    return Graph(nodes, {"logits": "head", "maps": ["scaled", "real"]}), tensors
