"""An artifact's graph as the float net of the same shapes: what its twin computes, as a list of plain float operations.

Signs go, packed weights become floats, a layer of several terms becomes one convolution, scales that exist for the sake of
binarisation (K maps, residuals' β) go, and constants behind a convolution move into its weight and bias.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bnn_tasks.runtime.graph import Graph, Node, leaves

ENDING = ("anchors", "join_boxes", "decode_boxes", "proposals", "roi_align", "nms", "nms_softmax", "softmax")
GAIN = 0.5  # of a drawn layer: a residual sum over many layers stays of the order of its input
CONVOLUTIONS = ("binary_conv2d", "binary_weight_conv2d", "binary_patches")
LINEAR = ("binary_linear", "binary_weight_linear")
RESIZES = ("resize_nearest", "resize_bilinear")  # of their second input they read the size alone
POINT = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}


@dataclass(frozen=True)
class FloatOp:
    """One operation of the twin.

    Attributes:
        op: the runtime's name of the float operation.
        inputs: values it reads.
        output: the value it makes.
        attrs: settings.
        tensors: role -> float32 array.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class FloatNet:
    """The twin's graph.

    Attributes:
        channels: of the input.
        input_name: name of the input value.
        ops: in order.
        outputs: the values that the artifact's ending reads, or that the net returns; of a segmenter its class map too.
        given: values that the ending makes and the net reads, features of regions: further inputs, after the first.
        mean: of a normalisation that came first, and is left to whoever feeds the twin; None for none.
        std: the same.
        weight_bytes: of all parameters as 32-bit floats, before anything was folded, shared ones once.
        binary_weight_bytes: of those that the artifact stores as bits, as 32-bit floats.
    """

    channels: int
    input_name: str
    ops: tuple[FloatOp, ...]
    outputs: tuple[str, ...]
    given: tuple[str, ...]
    mean: np.ndarray | None
    std: np.ndarray | None
    weight_bytes: int
    binary_weight_bytes: int


def float_net(graph: Graph, tensors: Mapping[str, np.ndarray], seed: int = 0, fold: bool = True) -> FloatNet:
    """The float net of the same shapes.

    Args:
        graph: of an artifact.
        tensors: of the artifact.
        seed: of the weights that stand for bits; layers that share bits share them.
        fold: whether constants behind a convolution move into it.

    Returns:
        The net.
    """
    translation = _Translation(graph, tensors, seed)
    for node in graph.nodes:
        translation.add(node)
    wanted = [translation.value(name) for name in raw_outputs(graph)]
    ops = _alive(translation.ops, wanted)
    mean, std, ops, source = _without_normalisation(ops, graph.input_name)
    if fold:
        ops = _alive(_folded(ops, wanted), wanted)
    given = tuple(name for op in ops for name in op.inputs if name in translation.given)
    return FloatNet(
        graph.channels,
        source,
        tuple(ops),
        tuple(wanted),
        tuple(dict.fromkeys(given)),
        mean,
        std,
        *translation.parameter_bytes(graph, tensors),
    )


def raw_outputs(graph: Graph) -> list[str]:
    """The values that the ending reads (anchors, regions, suppression, softmax), each once; without one, the net's outputs.

    A segmenter's class map is one more: resizing and argmax are operations that every engine has.
    """
    ending = [node for node in graph.nodes if node.op in ENDING]
    made = {value for node in ending for value in node.outputs}
    read = [value for node in ending for value in node.inputs] or list(leaves(graph.outputs))
    read += [] if graph.class_map is None else [graph.class_map]
    return list(dict.fromkeys(value for value in read if value not in made))


class _Translation:
    """The graph, node by node; a value of None is one that the float net has not."""

    def __init__(self, graph: Graph, tensors: Mapping[str, np.ndarray], seed: int) -> None:
        self.tensors, self.seed = tensors, seed
        self.ops: list[FloatOp] = []
        self.given: set[str] = set()
        self._values: dict[str, str | None] = {graph.input_name: graph.input_name}
        self._windows: dict[str, Mapping[str, Any]] = {}  # geometry of a patch matrix
        self._factors = _factors_behind(graph, tensors)

    def value(self, name: str) -> str:
        """The twin's value for one of the graph's."""
        value = self._values[name]
        if value is None:
            raise ValueError(f"Expected `{name}` to depend on a real value, but it is a constant of binarisation.")
        return value

    def add(self, node: Node) -> None:
        """Translate one node."""
        inputs = [self._values[name] for name in node.inputs if name in self._values]
        if node.op in ENDING:
            if node.op == "roi_align":
                self._values[node.outputs[0]] = node.outputs[0]
                self.given.add(node.outputs[0])
            return
        if node.op in ("sign", "ones", "window_mean", "residual_sign"):
            kept = node.op == "sign" or (node.op == "residual_sign" and node.attrs["index"] == 0)
            self._values.update(dict.fromkeys(node.outputs, None))
            self._values[node.outputs[0]] = inputs[0] if kept else None
            if node.op == "residual_sign":
                self._windows[node.outputs[0]] = node.attrs
            return
        if node.op in CONVOLUTIONS or node.op in LINEAR:
            # Whatever comes after the first term of a layer is the same layer: one convolution stands for all.
            before = inputs[1] if len(inputs) > 1 else None
            self._values[node.outputs[0]] = before if before or not inputs[0] else self._layer(node, inputs[0])
            return
        present = tuple(value for value in inputs if value is not None)
        if not present or (node.op in ("add", "multiply") and len(present) < 2):
            self._values[node.outputs[0]] = present[0] if present else None
            return
        own = {role: self.tensors[name] for role, name in node.tensors.items()}
        if node.op == "weighted_sum":
            own = {"weight": own["weight"][[value is not None for value in inputs]]}
        self.ops.append(FloatOp(node.op, present, node.outputs[0], node.attrs, own))
        self._values[node.outputs[0]] = node.outputs[0]

    def _layer(self, node: Node, x: str) -> str:
        shape = self._shape(node)
        generator = np.random.default_rng([self.seed, _number(node.tensors["weight"])])
        weight = generator.standard_normal(shape, np.float32)
        factor = self._factors[node.name]
        weight *= np.float32(GAIN / np.sqrt(np.prod(shape[1:]) * max(float(np.mean(factor**2)), 1e-20)))
        attrs = self._windows.get(node.inputs[0], node.attrs) if node.op in CONVOLUTIONS else {}
        geometry = {name: attrs.get(name, POINT[name]) for name in POINT} if node.op in CONVOLUTIONS else {}
        own = {role: self.tensors[node.tensors[role]] for role in ("scale", "bias") if role in node.tensors}
        name = node.outputs[0]
        self.ops.append(FloatOp("conv2d" if geometry else "linear", (x,), name, geometry, {"weight": weight}))
        if own:
            ones = np.ones(shape[0], np.float32)
            scale, shift = own.get("scale", ones), own.get("bias", 0 * ones)
            self.ops.append(FloatOp("scale_shift", (name,), f"{name}|scaled", {}, {"scale": scale, "shift": shift}))
            name = f"{name}|scaled"
        if "threshold" in node.tensors:  # its bits are a folded BatchNorm and sign
            self.ops.append(FloatOp("relu", (name,), f"{name}|relu"))
            name = f"{name}|relu"
        return name

    def _shape(self, node: Node) -> tuple[int, ...]:
        outputs = len(self.tensors[node.tensors["weight"]])
        if node.op in LINEAR:
            return outputs, node.attrs["features"]
        per_group = node.attrs["channels"] // node.attrs["groups"]
        kernel = self._windows[node.inputs[0]]["kernel"] if node.op == "binary_patches" else node.attrs["kernel"]
        if node.op == "binary_patches":
            per_group //= kernel[0] * kernel[1]
        return outputs, per_group, *kernel

    def parameter_bytes(self, graph: Graph, tensors: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """Of all parameters, and of those that are bits, as 32-bit floats."""
        bits = {}
        for node in graph.nodes:
            if node.op in CONVOLUTIONS or node.op in LINEAR:
                taps = 1 if node.op == "binary_patches" else np.prod(node.attrs.get("kernel", [1, 1]))
                inputs = node.attrs.get("features") or node.attrs["channels"] // node.attrs["groups"]
                bits[node.tensors["weight"]] = int(len(tensors[node.tensors["weight"]]) * inputs * taps)
        others = sum(tensor.size for name, tensor in tensors.items() if name not in bits)
        return 4 * (others + sum(bits.values())), 4 * sum(bits.values())


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def _factors_behind(graph: Graph, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each packed layer's sums are multiplied by, channel by channel: its scale, and a BatchNorm's behind it."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    factors = {}
    for node in graph.nodes:
        if node.op not in CONVOLUTIONS + LINEAR:
            continue
        outputs = len(tensors[node.tensors["weight"]])
        factor = tensors[node.tensors["scale"]] if "scale" in node.tensors else np.ones(outputs, np.float32)
        following = readers.get(node.outputs[0], [])
        if len(following) == 1 and following[0].op == "scale_shift":
            factor = factor * tensors[following[0].tensors["scale"]]
        factors[node.name] = factor.astype(np.float64)
    return factors


def _alive(ops: Sequence[FloatOp], wanted: Sequence[str]) -> list[FloatOp]:
    """The operations that `wanted` values need."""
    needed, kept = set(wanted), []
    for op in reversed(ops):
        if op.output in needed:
            needed.update(op.inputs)
            kept.append(op)
    return kept[::-1]


def _readers(ops: Sequence[FloatOp], wanted: Sequence[str]) -> Counter[str]:
    return Counter([*wanted, *(name for op in ops for name in op.inputs)])


def _without_normalisation(
    ops: list[FloatOp], source: str
) -> tuple[np.ndarray | None, np.ndarray | None, list[FloatOp], str]:
    """Mean, standard deviation, the rest and its input, if all that reads the picture is one normalisation."""
    first = [op for op in ops if source in (op.inputs[:1] if op.op in RESIZES else op.inputs)]
    if len(first) != 1 or first[0].op != "normalize":
        return None, None, ops, source
    fed = first[0].output  # of the picture's size, too
    rest = [
        replace(op, inputs=tuple(fed if name == source else name for name in op.inputs))
        for op in ops
        if op is not first[0]
    ]
    return first[0].tensors["mean"], first[0].tensors["std"], rest, fed


def _folded(ops: Sequence[FloatOp], wanted: Sequence[str]) -> list[FloatOp]:
    """Every scale_shift that alone reads a convolution or linear layer, moved into it."""
    readers = _readers(ops, wanted)
    done: list[FloatOp] = []
    made: dict[str, int] = {}  # value -> index in `done`
    for op in ops:
        before = made.get(op.inputs[0]) if op.op == "scale_shift" else None
        if before is not None and done[before].op in ("conv2d", "linear") and readers[op.inputs[0]] == 1:
            done[before] = _scaled(done[before], op)
            made[op.output] = before
        else:
            done.append(op)
            made[op.output] = len(done) - 1
    return done


def _scaled(layer: FloatOp, behind: FloatOp) -> FloatOp:
    """In float64, rounded once."""
    scale, shift = behind.tensors["scale"].astype(np.float64), behind.tensors["shift"].astype(np.float64)
    weight = layer.tensors["weight"]
    bias = layer.tensors.get("bias", np.zeros(len(weight), np.float32)) * scale + shift
    scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    tensors = {"weight": scaled.astype(np.float32), "bias": bias.astype(np.float32)}
    return replace(layer, output=behind.output, tensors=tensors)
