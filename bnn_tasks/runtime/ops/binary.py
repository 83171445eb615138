"""The layers that run on packed signs through XNOR and popcount."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import kernels
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import BitMap, BitVector, FloatMap, Kind, Vector, agree, known, words
from bnn_tasks.runtime.ops.attrs import COUNT, DILATION, KERNEL, MAX_CHANNELS, PADDING, STRIDE, Choice, Integer
from bnn_tasks.runtime.ops.base import (
    BINARY_WEIGHTS,
    Attrs,
    Context,
    Op,
    Role,
    Tensors,
    expect_shape,
)
from bnn_tasks.runtime.ops.windows import output_map, output_side


@dataclass(frozen=True)
class _Prepared:
    """A binary layer at work; `bits`: whether its epilogue gives bits."""

    weight: np.ndarray
    first: np.ndarray  # scale, or threshold
    second: np.ndarray  # bias, or flip
    bits: bool


class _BinaryLayer(Op):
    """What the two binary layers share: packed weights and two epilogues.

    Float: y = float32(acc)·scale + bias, both (O). Bits: (acc >= threshold) ^ flip, threshold int32 (O), flip {0, 1} (O).
    """

    roles: ClassVar = {
        "weight": Role("uint8", 2, category=BINARY_WEIGHTS),
        "scale": Role("float32", 1, required=False),
        "bias": Role("float32", 1, required=False),
        "threshold": Role("int32", 1, required=False),
        "flip": Role("uint8", 1, required=False),
    }
    layer = True
    binary = True

    def taps(self, attrs: Attrs) -> tuple[int, int, int, int]:
        """Groups, channels of one group, kernel height and width."""
        raise NotImplementedError

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """One epilogue; packed rows of the right length whose tail bits are 0."""
        groups, inputs, kh, kw = self.taps(attrs)
        weight = tensors["weight"]
        outputs, bits = weight.shape[0], inputs * kh * kw
        if outputs < 1 or outputs % groups:
            raise GraphError(f"Expected `groups` to divide {outputs} output channels, but got {groups}.")
        expect_shape("weight", weight, (outputs, -(-bits // 8)), f"{bits} bits a row")
        if bits % 8 and (weight[:, -1] >> (bits % 8)).any():
            raise GraphError("Expected the tail bits of tensor `weight` to be 0, but some are 1: the file is damaged.")
        if ("threshold" in tensors) != ("flip" in tensors):
            raise GraphError("Expected tensors `threshold` and `flip` together, but got one of them.")
        if "threshold" in tensors and ("scale" in tensors or "bias" in tensors):
            raise GraphError("Expected one epilogue, but got `threshold` beside `scale` or `bias`.")
        for role in ("scale", "bias", "threshold", "flip"):
            if role in tensors:
                expect_shape(role, tensors[role], (outputs,), "one for each output")
        if "flip" in tensors and tensors["flip"].max() > 1:
            raise GraphError("Expected tensor `flip` to hold 0 and 1 only.")

    def weight_bits(self, attrs: Attrs, tensors: Tensors) -> int:
        """Weights, one bit each."""
        _, inputs, kh, kw = self.taps(attrs)
        return tensors["weight"].shape[0] * inputs * kh * kw

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Weight as [groups, kh, kw, words, O] and the epilogue's constants."""
        groups, inputs, kh, kw = self.taps(attrs)
        packed = np.ascontiguousarray(tensors["weight"])
        outputs = packed.shape[0]
        weight = np.zeros((groups, kh, kw, words(inputs), outputs // groups), np.uint64)
        kernels.tile_bits(packed, inputs, weight)
        if "threshold" in tensors:
            return _Prepared(weight, tensors["threshold"], tensors["flip"], bits=True)
        scale = tensors["scale"] if "scale" in tensors else np.ones(outputs, np.float32)
        bias = tensors["bias"] if "bias" in tensors else np.zeros(outputs, np.float32)
        return _Prepared(weight, scale, bias, bits=False)

    def prepared_bytes(self, attrs: Attrs, tensors: Tensors) -> int:
        """Each group's channels fill up whole words."""
        _, inputs, kh, kw = self.taps(attrs)
        return tensors["weight"].shape[0] * (8 * kh * kw * words(inputs) + 8)


class BinaryConv2d(_BinaryLayer):
    """Σ over taps of w·a, weight packed OIHW bits (O, ⌈I/groups·kh·kw/8⌉), then an epilogue.

    A tap outside the map counts 0 (`pad_value` 0) or is that sign (±1). `out_groups`: how produced bits are packed.
    """

    attrs: ClassVar = {
        "channels": COUNT,
        "kernel": KERNEL,
        "stride": STRIDE,
        "padding": PADDING,
        "dilation": DILATION,
        "groups": COUNT,
        "pad_value": Choice((0, 1, -1)),
        "out_groups": COUNT,
    }
    optional_attrs = frozenset({"out_groups"})

    def taps(self, attrs: Attrs) -> tuple[int, int, int, int]:
        """Groups, channels of one group, kernel height and width."""
        kh, kw = attrs["kernel"]
        return attrs["groups"], attrs["channels"] // attrs["groups"], kh, kw

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """Groups divide; accumulators fit int32; `out_groups` goes with thresholds."""
        if attrs["channels"] % attrs["groups"]:
            raise GraphError(f"Expected `groups` to divide {attrs['channels']} channels, but got {attrs['groups']}.")
        super().check(attrs, tensors)
        _, inputs, kh, kw = self.taps(attrs)
        if inputs * kh * kw >= 2**31:
            raise GraphError("Expected fewer than 2³¹ taps, so that accumulators fit 32 bits.")
        if ("out_groups" in attrs) != ("threshold" in tensors):
            raise GraphError("Expected attribute `out_groups` where tensor `threshold` is, and only there.")
        if tensors["weight"].shape[0] % attrs.get("out_groups", 1):
            raise GraphError(f"Expected `out_groups` to divide the outputs, but got {attrs['out_groups']}.")

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Bits to a float map or bits."""
        x = inputs[0]
        if not isinstance(x, BitMap) or (x.channels, x.groups) != (attrs["channels"], attrs["groups"]):
            raise GraphError(
                f"Expected bits of {attrs['channels']} channels packed in {attrs['groups']} groups, but got {x}."
            )
        kh, kw = attrs["kernel"]
        y = output_map(FloatMap(x.channels, x.height, x.width), tensors["weight"].shape[0], (kh, kw), attrs)
        return [BitMap(y.channels, attrs["out_groups"], y.height, y.width)] if "out_groups" in attrs else [y]

    def _geometry(self, x: np.ndarray, attrs: Attrs) -> tuple[tuple[int, int], tuple[Any, ...]]:
        """Output size, and the kernels' arguments after the weight."""
        _, inputs, *kernel = self.taps(attrs)
        stride, padding, dilation = (tuple(attrs[name]) for name in ("stride", "padding", "dilation"))
        height, width = (known(output_side(x.shape[i], kernel[i], stride[i], padding[i], dilation[i])) for i in (0, 1))
        return (height, width), (inputs, stride, padding, dilation, attrs["pad_value"])

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Convolve, with the epilogue in the same pass."""
        size, geometry = self._geometry(inputs[0], attrs)
        return [_run(inputs[0], prepared, size, geometry, attrs.get("out_groups", 1))]

    def accumulate(self, x: np.ndarray, attrs: Attrs, prepared: Any) -> np.ndarray:
        """Raw accumulators, int32 [OH, OW, O], of packed bits."""
        size, geometry = self._geometry(x, attrs)
        return _accumulate(x, prepared, size, geometry)

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Binary multiply-adds: one for each output value and tap."""
        _, per_group, kh, kw = self.taps(attrs)
        y = outputs[0]
        assert isinstance(y, FloatMap | BitMap)
        return tensors["weight"].shape[0] * per_group * kh * kw * known(y.height) * known(y.width)


class BinaryLinear(_BinaryLayer):
    """Σ w·a over `features`, weight packed bits (O, ⌈features/8⌉), then an epilogue."""

    attrs: ClassVar = {"features": Integer(1, 64 * MAX_CHANNELS)}

    def taps(self, attrs: Attrs) -> tuple[int, int, int, int]:
        """A 1 × 1 convolution."""
        return 1, attrs["features"], 1, 1

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Bits to a float vector or bits."""
        x, outputs = inputs[0], tensors["weight"].shape[0]
        if not isinstance(x, BitVector) or not agree(x.channels, attrs["features"]):
            raise GraphError(f"Expected a vector of {attrs['features']} bits as input, but got {x}.")
        return [BitVector(outputs)] if "threshold" in tensors else [Vector(outputs)]

    def _geometry(self, attrs: Attrs) -> tuple[Any, ...]:
        return attrs["features"], (1, 1), (0, 0), (1, 1), 0

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply, with the epilogue in the same pass."""
        return [_run(inputs[0][None, None], prepared, (1, 1), self._geometry(attrs), 1)[0, 0]]

    def accumulate(self, x: np.ndarray, attrs: Attrs, prepared: Any) -> np.ndarray:
        """Raw accumulators, int32 (O), of packed bits."""
        return _accumulate(x[None, None], prepared, (1, 1), self._geometry(attrs))[0, 0]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Binary multiply-adds."""
        return tensors["weight"].shape[0] * attrs["features"]


def _run(
    x: np.ndarray, layer: _Prepared, size: tuple[int, int], geometry: tuple[Any, ...], out_groups: int
) -> np.ndarray:
    outputs = layer.first.shape[0]
    if layer.bits:
        out = np.zeros((*size, out_groups * words(outputs // out_groups)), np.uint64)
        kernels.xnor_bits(x, layer.weight, *geometry, layer.first, layer.second, out_groups, out)
    else:
        out = np.empty((*size, outputs), np.float32)
        kernels.xnor_float(x, layer.weight, *geometry, layer.first, layer.second, out)
    return out


def _accumulate(x: np.ndarray, layer: _Prepared, size: tuple[int, int], geometry: tuple[Any, ...]) -> np.ndarray:
    out = np.empty((*size, layer.first.shape[0]), np.int32)
    kernels.xnor_accumulate(x, layer.weight, *geometry, out)
    return out
