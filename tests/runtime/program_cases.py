"""Random graphs, and what the tests of the compiled program share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import pytest
from graphs import floats, node, pack_weight, signs

from bnn_tasks.runtime.engine import Engine
from bnn_tasks.runtime.format import Graph, Node
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.base import Context
from bnn_tasks.runtime.plan import node_tensors

needs_kernels = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="the kernels are compiled code, and NUMBA_DISABLE_JIT is set"
)

# Operations whose kernels sum real values in another order than their references, or in another precision.
ROUNDED = {"conv2d", "linear", "binary_weight_conv2d", "binary_weight_linear", "global_avg_pool"}


def accumulate(x, w, stride, padding, dilation, groups, pad_value) -> np.ndarray:
    """Sums of a binary convolution over unfolded patches, int64: signs x (C, H, W), w (O, C/groups, kh, kw)."""
    outputs, per_group, kh, kw = w.shape
    (py, px), (dy, dx) = padding, dilation
    padded = np.pad(x.astype(np.int64), ((0, 0), (py, py), (px, px)), constant_values=pad_value)
    area = np.lib.stride_tricks.sliding_window_view(padded, (dy * (kh - 1) + 1, dx * (kw - 1) + 1), axis=(1, 2))
    patches = area[:, :: stride[0], :: stride[1], ::dy, ::dx].reshape(
        groups, per_group, *_strided(area, stride), kh, kw
    )
    weight = w.astype(np.int64).reshape(groups, outputs // groups, per_group, kh, kw)
    return np.einsum("gihwyx,goiyx->gohw", patches, weight).reshape(outputs, *patches.shape[2:4])


def _strided(area, stride):
    return -(-area.shape[1] // stride[0]), -(-area.shape[2] // stride[1])


def open_engine(graph: Graph, tensors: dict[str, np.ndarray], threads: int = 1) -> Engine:
    """An engine without a file; unlike a session's it may have more threads than cores."""
    return Engine("net", graph, tensors, threads)


def check_against_reference(engine: Engine, image: np.ndarray) -> dict[str, Any]:
    """Every value as the kernels make it, each held against its reference operation on the kernels' own inputs.

    So no difference builds up, and a bit has no excuse: it is that of the very value it was taken of.
    """
    graph = engine.graph
    values = engine.run(image, [graph.input_name, *(value for n in graph.nodes for value in n.outputs)])
    np.testing.assert_array_equal(values[graph.input_name], image)
    for each in graph.nodes:
        op, tensors = OPS[each.op], node_tensors(each, engine.tensors)
        inputs = [values[name].copy() for name in each.inputs]
        with np.errstate(all="ignore"):
            made = op.run(inputs, each.attrs, op.prepare(each.attrs, tensors), Context(*image.shape[:2]))
        for name, expected in zip(each.outputs, made, strict=True):
            where = f"value `{name}` of node `{each.name}` ({each.op})"
            if each.op in ROUNDED:
                finite = np.isfinite(expected)
                most = np.abs(inputs[0]).max()  # sums of which little is left are as exact as what they are sums of
                bound = 1e-5 * max(np.abs(expected[finite]).max(initial=0), 0.1 * most)
                np.testing.assert_allclose(values[name], expected, rtol=1e-5, atol=bound, err_msg=where)
            else:
                np.testing.assert_array_equal(values[name], expected, err_msg=where)
    return values


@dataclass(frozen=True)
class _Value:
    name: str
    kind: str  # "map", "vector", "bits"
    shape: tuple[int, int, int]  # channels, height, width
    groups: int = 1  # of bits


@dataclass
class _Maker:
    """Grows a graph node by node; mostly on the value made last, so that chains come about."""

    rng: np.random.Generator
    channels: int
    exact: bool
    values: list[_Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    products: int = 0

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def tensor(self, values: np.ndarray) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = values
        return name

    def some(self, *shape: int, scale: float = 1.0, at: float = 0.0) -> str:
        return self.tensor((floats(self.rng, *shape) * np.float32(scale) + np.float32(at)).astype(np.float32))

    def optional(self, p: float = 0.5, **shapes: tuple[int, ...]) -> dict[str, str]:
        return {role: self.some(*shape) for role, shape in shapes.items() if self.chance(p)}

    def add(self, op, inputs, kind, shape, attrs=None, groups=1, **tensors: str) -> _Value:
        name = f"n{len(self.nodes)}_{op}"
        self.nodes.append(node(name, op, " ".join(v.name for v in inputs), attrs, **tensors))
        self.values.append(_Value(name, kind, shape, groups))
        return self.values[-1]

    def latest(self, kind: str = "map") -> _Value | None:
        found = [v for v in self.values if v.kind == kind]
        if not found:
            return None
        return found[-1] if self.chance(0.7) else self.pick(found)

    def like(self, x: _Value, shape: tuple[int, int, int] | None = None) -> _Value:
        """A value of the same kind, or of a shape: an earlier one rather than x."""
        found = [v for v in self.values if (v.kind, v.shape) == (x.kind, shape or x.shape)]
        others = [v for v in found if v is not x] or found
        return self.pick(others if not self.chance(0.05) else found)

    def geometry(self, shape, groups: int = 1, pad_values=(0, 1, -1)) -> tuple[dict[str, Any], tuple[int, int]]:
        """A layer's windows, mostly such that the map keeps its size."""
        _, height, width = shape
        while True:
            kernel = (3, 3) if self.chance(0.5) else (int(self.rng.integers(1, 5)), int(self.rng.integers(1, 4)))
            same = kernel == (3, 3) and self.chance(0.8)
            stride = (1, 1) if self.chance(0.8) else (int(self.rng.integers(1, 3)), int(self.rng.integers(1, 4)))
            padding = (1, 1) if same else (int(self.rng.integers(3)), int(self.rng.integers(3)))
            dilation = (1, 1) if self.chance(0.8) else (2, int(self.rng.integers(1, 3)))
            if same and dilation == (2, 2):
                padding = (2, 2)
            size = tuple(
                (side + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
                for i, side in enumerate((height, width))
            )
            if min(size) >= 1 and size[0] * size[1] <= 400:
                break
        attrs = {"stride": [*stride], "padding": [*padding], "dilation": [*dilation], "groups": groups}
        return {**attrs, "kernel": [*kernel], "pad_value": self.pick(pad_values)}, size

    def outputs(self, inputs: int) -> tuple[int, int]:
        """Output channels and groups of a layer."""
        outputs = self.channels if self.chance(0.75) else self.pick([1, 7, 16, 33, 48, 64])
        groups = 1 if self.chance(0.7) else self.pick([2, 4, inputs])
        return (outputs, groups) if inputs % groups == 0 and outputs % groups == 0 else (outputs, 1)

    # What a node can be. Each returns whether it could.

    def sign(self, x: _Value | None = None) -> _Value | None:
        x = x or self.latest("vector" if self.chance(0.15) else "map")
        if x is None:
            return None
        channels = x.shape[0]
        groups = 1 if x.kind == "vector" or self.chance(0.75) else self.pick([2, 4])
        groups = groups if channels % groups == 0 else 1
        op, tensors = "ones" if self.chance(0.05) else "sign", {}
        if op == "sign" and self.chance(0.6):
            tensors["threshold"] = self.some(1 if self.chance(0.3) else channels, scale=0.5)
        kind = "bits" if x.kind == "map" else "bit vector"
        return self.add(op, [x], kind, x.shape, {"groups": groups}, groups, **tensors)

    def binary(self) -> _Value | None:
        x = self.latest("bits") if self.chance(0.6) else self.sign()
        if x is not None and x.kind == "bit vector":
            return self.binary_linear(x)
        if x is None:
            return None
        outputs = self.outputs(x.shape[0])[0] // x.groups * x.groups or x.groups
        attrs, size = self.geometry(x.shape, x.groups)
        attrs["channels"] = x.shape[0]
        per_group, (kh, kw) = x.shape[0] // x.groups, attrs["kernel"]
        weight = self.tensor(pack_weight(signs(self.rng, outputs, per_group, kh, kw)))
        if self.chance(0.2):
            spread = int(np.sqrt(per_group * kh * kw)) + 1
            threshold = self.tensor(self.rng.integers(-spread, spread + 1, outputs, dtype=np.int32))
            flip = self.tensor(self.rng.integers(0, 2, outputs, dtype=np.uint8))
            out_groups = self.pick([g for g in (1, 1, 2, 3) if outputs % g == 0])
            attrs["out_groups"] = out_groups
            return self.add("binary_conv2d", [x], "bits", (outputs, *size), attrs, out_groups,
                            weight=weight, threshold=threshold, flip=flip)  # fmt: skip
        tensors = {"scale": self.some(outputs, scale=0.2)} if self.chance(0.8) else {}
        tensors |= self.optional(0.3, bias=(outputs,))
        inputs = [x]
        second = [v for v in self.values if (v.kind, v.shape) == ("map", (outputs, *size))]
        if second and self.chance(0.3):
            inputs.append(self.pick(second))
        return self.add("binary_conv2d", inputs, "map", (outputs, *size), attrs, weight=weight, **tensors)

    def binary_linear(self, x: _Value) -> _Value:
        outputs = self.outputs(1)[0]
        weight = self.tensor(pack_weight(signs(self.rng, outputs, x.shape[0])))
        tensors = self.optional(scale=(outputs,), bias=(outputs,))
        return self.add(
            "binary_linear", [x], "vector", (outputs, 1, 1), {"features": x.shape[0]}, weight=weight, **tensors
        )

    def convolution(self) -> _Value | None:
        x = self.latest()
        if self.exact or x is None:
            return None
        outputs, groups = self.outputs(x.shape[0])
        attrs, size = self.geometry(x.shape, groups)
        kernel, per_group = attrs["kernel"], x.shape[0] // groups
        if self.chance(0.6):
            weight = self.some(outputs, per_group, *kernel, scale=(per_group * kernel[0] * kernel[1]) ** -0.5)
            attrs = {name: attrs[name] for name in ("stride", "padding", "dilation", "groups")}
            return self.add(
                "conv2d", [x], "map", (outputs, *size), attrs, weight=weight, **self.optional(bias=(outputs,))
            )
        attrs["channels"] = x.shape[0]
        weight = self.tensor(pack_weight(signs(self.rng, outputs, per_group, *kernel)))
        tensors = {"scale": self.some(outputs, scale=0.1), **self.optional(bias=(outputs,))}
        second = [v for v in self.values if (v.kind, v.shape) == ("map", (outputs, *size))]
        inputs = [x, self.pick(second)] if second and self.chance(0.4) else [x]
        return self.add("binary_weight_conv2d", inputs, "map", (outputs, *size), attrs, weight=weight, **tensors)

    def linear(self) -> _Value | None:
        x = self.latest("vector") or self.flatten(self.pick([v for v in self.values if v.kind == "map"]))
        if self.exact or not x:
            return x
        outputs = self.outputs(1)[0]
        if self.chance(0.5):
            weight = self.some(outputs, x.shape[0], scale=x.shape[0] ** -0.5)
            return self.add("linear", [x], "vector", (outputs, 1, 1), weight=weight, **self.optional(bias=(outputs,)))
        tensors = {"weight": self.tensor(pack_weight(signs(self.rng, outputs, x.shape[0])))}
        tensors |= {"scale": self.some(outputs, scale=0.1), **self.optional(bias=(outputs,))}
        second = [v for v in self.values if (v.kind, v.shape[0]) == ("vector", outputs)]
        inputs = [x, self.pick(second)] if second and self.chance(0.4) else [x]
        return self.add("binary_weight_linear", inputs, "vector", (outputs, 1, 1), {"features": x.shape[0]}, **tensors)

    def channelwise(self) -> _Value | None:
        x = self.latest("vector" if self.chance(0.15) else "map")
        if x is None:
            return None
        channels = x.shape[0]
        op = self.pick(["scale_shift", "scale_shift", "relu", "hardtanh", "prelu", "prelu", "normalize", "sigmoid"])
        attrs, tensors = {}, {}
        if op == "scale_shift":
            tensors = {"scale": self.some(channels), "shift": self.some(channels)}
        elif op == "normalize":
            std = self.tensor(self.rng.uniform(0.5, 2, channels).astype(np.float32))
            tensors = {"mean": self.some(channels), "std": std}
        elif op == "hardtanh":
            attrs = {"min": self.pick([-1.0, -0.7, 0.0]), "max": self.pick([1, 1.3, 6])}
        elif op == "prelu":
            tensors = {"slope": self.some(1 if self.chance(0.3) else channels)}
            tensors |= self.optional(slope_above=(channels,), shift_in=(channels,), shift_out=(channels,))
        return self.add(op, [x], x.kind, x.shape, attrs, **tensors)

    def join(self) -> _Value | None:
        x = self.latest("vector" if self.chance(0.1) else "map")
        if x is None:
            return None
        op = self.pick(["add", "add", "add", "multiply", "weighted_sum", "scale_map"])
        channels, height, width = x.shape
        if op == "scale_map":
            return x.kind == "map" and self.add(op, [x], "map", x.shape, scale=self.some(*x.shape))
        if op == "multiply":
            if self.products >= 3:
                return None
            self.products += 1
            counts = [c for c in (1, 2, channels) if channels % c == 0]
            factors = [v for c in counts for v in self.values if (v.kind, v.shape) == (x.kind, (c, height, width))]
            return self.add(op, [x, self.pick(factors)], x.kind, x.shape)
        inputs = [x, *(self.like(x) for _ in range(int(self.rng.integers(1, 4)) if self.chance(0.3) else 1))]
        if self.chance(0.4):
            self.rng.shuffle(inputs)
        tensors = {"weight": self.some(len(inputs))} if op == "weighted_sum" else {}
        return self.add(op, inputs, x.kind, x.shape, **tensors)

    def block(self) -> _Value | None:
        """What networks are made of: a layer, its BatchNorm, a residual sum, an activation, and signs for the next layer."""
        x = self.latest()
        if x is None:
            return None
        channels, height, width = x.shape
        factors = [v for v in self.values if (v.kind, v.shape) == ("map", (1, height, width))]
        if self.chance(0.3):
            factors = factors or [self.add("channel_group_mean", [x], "map", (1, height, width), {"channels": 1})]
        else:
            factors = []
        attrs = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1, "kernel": [3, 3]}
        attrs |= {"channels": channels, "pad_value": self.pick([0, 1, -1])}
        bits = self.add("sign", [x], "bits", x.shape, {"groups": 1})
        weight = self.tensor(pack_weight(signs(self.rng, channels, channels, 3, 3)))
        y = self.add(
            "binary_conv2d", [bits], "map", x.shape, attrs, weight=weight, scale=self.some(channels, scale=0.1)
        )
        if self.chance(0.6):
            y = self.add("scale_shift", [y], "map", x.shape, scale=self.some(channels), shift=self.some(channels))
        if factors:
            y = self.add("multiply", [y, self.pick(factors)], "map", x.shape)
        if self.chance(0.8):
            y = self.add("add", [y, x] if self.chance(0.5) else [x, y], "map", x.shape)
        if self.chance(0.5):
            shifts = self.optional(slope_above=(channels,), shift_in=(channels,), shift_out=(channels,))
            y = self.add("prelu", [y], "map", x.shape, slope=self.some(channels), **shifts)
        if self.chance(0.7):
            self.sign(y)
        return y

    def flatten(self, x: _Value) -> _Value | None:
        count = int(np.prod(x.shape))
        return self.add("flatten", [x], "vector", (count, 1, 1)) if count <= 2000 else None

    def pool(self) -> _Value | None:
        x = self.latest()
        if x is None:
            return None
        op = self.pick(["max_pool2d", "avg_pool2d"])
        attrs, _ = self.geometry(x.shape)
        kernel, stride = attrs["kernel"], attrs["stride"]
        padding = [min(p, k // 2) for p, k in zip(attrs["padding"], kernel)]
        dilation = attrs["dilation"] if op == "max_pool2d" else [1, 1]
        ceil = self.chance(0.2)
        size = []
        for i, side in enumerate(x.shape[1:]):
            reach = side + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1
            count = (reach + (stride[i] - 1 if ceil else 0)) // stride[i] + 1
            size.append(count - (ceil and (count - 1) * stride[i] >= side + padding[i]))
        if min(size) < 1 or (ceil and op == "avg_pool2d" and max(stride) > min(kernel)):
            return None  # no window, or windows without a tap, whose mean is NaN
        attrs = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": bool(ceil)}
        attrs |= {"dilation": dilation} if op == "max_pool2d" else {"count_include_pad": self.chance(0.5)}
        made = self.add(op, [x], "map", (x.shape[0], *size), attrs)
        if op == "max_pool2d" and (ceil or max(dilation) > 1):  # a window without a tap is -inf
            made = self.add("hardtanh", [made], "map", made.shape, {"min": self.pick([-4, -0.2]), "max": 9})
            self.values.pop(-2)
        if op == "max_pool2d" and self.chance(0.5):  # on the way to a sign
            if self.chance(0.6):
                shift = self.some(x.shape[0])
                made = self.add("scale_shift", [made], "map", made.shape, scale=self.some(x.shape[0]), shift=shift)
            if self.chance(0.3):
                made = self.add("relu", [made], "map", made.shape)
            self.sign(made)
        return made

    def move(self) -> _Value | None:
        x = self.latest()
        if x is None:
            return None
        channels, height, width = x.shape
        op = self.pick(["resize_nearest", "concat", "flatten", "channel_group_mean", "window_mean", "global_avg_pool"])
        if op == "resize_nearest":
            other = self.pick([v for v in self.values if v.kind == "map"])
            return self.add(op, [x, other], "map", (channels, *other.shape[1:]))
        if op == "concat":
            others = [v for v in self.values if v.kind == "map" and v.shape[1:] == x.shape[1:]]
            other = self.pick(others)
            return self.add(op, [x, other], "map", (channels + other.shape[0], height, width))
        if op == "flatten":
            return self.flatten(x)
        if op == "channel_group_mean":
            count = self.pick([c for c in (1, 2, channels // 2, channels) if c and channels % c == 0])
            return self.add(op, [x], "map", (count, height, width), {"channels": count})
        if op == "window_mean":
            attrs, size = self.geometry(x.shape, self.pick([g for g in (1, 2, channels) if channels % g == 0]))
            return self.add(op, [x], "map", (attrs["groups"], *size), attrs)
        return not self.exact and self.add(op, [x], "map", (channels, 1, 1))


def random_graph(seed: int, exact: bool) -> tuple[Graph, dict[str, np.ndarray], tuple[int, int]]:
    """A graph of a few to some forty nodes, its tensors, and an input size.

    Args:
        seed: of the graph.
        exact: whether to leave out what `ROUNDED` lists, so that kernels and references agree bit for bit.
    """
    rng = np.random.default_rng([seed, exact])
    channels = int(rng.choice([3, 5, 16, 24, 40, 64, 64, 72, 128, 192]))
    low, high = [((1, 1), (8, 8)), ((1, 1), (8, 8)), ((9, 9), (16, 16)), ((1, 60), (3, 75))][int(rng.integers(4))]
    size = (int(rng.integers(low[0], high[0] + 1)), int(rng.integers(low[1], high[1] + 1)))
    maker = _Maker(rng, channels, exact, [_Value("images", "map", (channels, *size))])
    makes = [maker.binary, maker.channelwise, maker.join, maker.sign, maker.convolution]
    makes += [maker.pool, maker.move, maker.linear, maker.block]
    odds = np.array([6, 6, 6, 3, 3, 1.5, 1.5, 1, 2.5])
    for _ in range(int(rng.integers(6, 25))):
        makes[int(rng.choice(len(makes), p=odds / odds.sum()))]()
    real = [v.name for v in maker.values if v.kind in ("map", "vector") and v.name != "images"]
    if not real:
        maker.add("relu", [maker.values[0]], "map", maker.values[0].shape)
        real = [maker.values[-1].name]
    used = {name for n in maker.nodes for name in n.inputs}
    ends = [name for name in real if name not in used]
    outputs = ends + [name for name in real if name in used and maker.chance(0.15)]
    return Graph(tuple(maker.nodes), outputs or real[-1:], channels=channels), maker.tensors, size


def wanted_sets(graph: Graph, seed: int) -> Iterator[list[str]]:
    """What to ask of a graph: its outputs, its last one, and a few values, bits among them."""
    rng = np.random.default_rng(seed)
    outputs = list(graph.outputs)
    made = [value for n in graph.nodes for value in n.outputs]
    yield outputs
    yield outputs[-1:]
    yield sorted({str(name) for name in rng.choice(made, min(3, len(made)))})
