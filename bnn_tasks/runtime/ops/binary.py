"""The layers that run on packed signs through XNOR and popcount."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import BitMap, BitVector, FloatMap, Kind, Vector, agree
from bnn_tasks.runtime.layouts import Bits
from bnn_tasks.runtime.ops.attrs import COUNT
from bnn_tasks.runtime.ops.base import Attrs, Context, Role, Tensors
from bnn_tasks.runtime.ops.packed import GroupedLayer, PackedLayer, VectorLayer, scale_and_bias, second_of
from bnn_tasks.runtime.ops.windows import WINDOW_ATTRS, output_map, windows_over
from bnn_tasks.runtime.reference import PIXEL, Windows


@dataclass(frozen=True)
class _Prepared:
    """A binary layer at work; `bits`: whether its epilogue gives bits."""

    weight: np.ndarray
    first: np.ndarray  # scale, or threshold
    second: np.ndarray  # bias, or flip
    bits: bool


class BinaryLayer(PackedLayer):
    """What the layers on packed signs share: integer sums, the accumulators."""

    binary = True

    def operand(self, shape: tuple[int, ...], attrs: Attrs) -> Bits:
        """Kind of an input that a caller sees with `shape`, (C, H, W) or (C,)."""
        raise NotImplementedError

    def accumulate(self, x: np.ndarray, attrs: Attrs, prepared: Any) -> np.ndarray:
        """Raw accumulators, int32 [OH, OW, O] or (O), of packed bits."""
        raise NotImplementedError


class _XnorLayer(BinaryLayer):
    """A layer with two epilogues.

    Float: that of every packed layer. Bits: (acc >= threshold) ^ flip, threshold int32 (O), flip {0, 1} (O).
    """

    roles: ClassVar = {
        **PackedLayer.roles,
        "threshold": Role("int32", 1, required=False),
        "flip": Role("uint8", 1, required=False),
    }

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """One epilogue."""
        super().check(attrs, tensors)
        if ("threshold" in tensors) != ("flip" in tensors):
            raise GraphError("Expected tensors `threshold` and `flip` together, but got one of them.")
        if "threshold" in tensors and ("scale" in tensors or "bias" in tensors):
            raise GraphError("Expected one epilogue, but got `threshold` beside `scale` or `bias`.")
        if "flip" in tensors and tensors["flip"].max() > 1:
            raise GraphError("Expected tensor `flip` to hold 0 and 1 only.")

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Tiled weight and the epilogue's constants."""
        weight = self.tiled(attrs, tensors)
        if "threshold" in tensors:
            return _Prepared(weight, tensors["threshold"], tensors["flip"], bits=True)
        return _Prepared(weight, *scale_and_bias(tensors), bits=False)

    def check_bits(self, inputs: Sequence[Kind]) -> None:
        """Raise GraphError if there is a second input, for a layer whose epilogue gives bits."""
        if len(inputs) > 1:
            raise GraphError("Expected one input where the sums become bits, but got something to add to them.")


class BinaryConv2d(GroupedLayer, _XnorLayer):
    """Σ over taps of w·a, weight packed OIHW bits (O, ⌈I/groups·kh·kw/8⌉), then an epilogue.

    A tap outside the map counts 0 (`pad_value` 0) or is that sign (±1). `out_groups`: how produced bits are packed.
    """

    attrs: ClassVar = {"channels": COUNT, **WINDOW_ATTRS, "out_groups": COUNT}
    optional_attrs = frozenset({"out_groups"})

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """`out_groups` goes with thresholds, and divides."""
        super().check(attrs, tensors)
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
        if "out_groups" in attrs:
            self.check_bits(inputs)
            return [BitMap(y.channels, attrs["out_groups"], y.height, y.width)]
        self.check_sum(inputs, y)
        return [y]

    def operand(self, shape: tuple[int, ...], attrs: Attrs) -> Bits:
        """A map."""
        channels, height, width = shape
        return BitMap(channels, attrs["groups"], height, width)

    def _geometry(self, x: np.ndarray, attrs: Attrs) -> tuple[int, Windows, int]:
        """Channels of one group, windows, and what a tap outside counts."""
        _, inputs, kh, kw = self.taps(attrs)
        return inputs, windows_over(x, (kh, kw), attrs), attrs["pad_value"]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Convolve, then the epilogue."""
        return [_run(inputs, prepared, self._geometry(inputs[0], attrs), attrs.get("out_groups", 1))]

    def accumulate(self, x: np.ndarray, attrs: Attrs, prepared: Any) -> np.ndarray:
        """Raw accumulators, int32 [OH, OW, O], of packed bits."""
        return reference.xnor_accumulate(x, prepared.weight, *self._geometry(x, attrs))


class BinaryLinear(VectorLayer, _XnorLayer):
    """Σ w·a over `features`, weight packed bits (O, ⌈features/8⌉), then an epilogue."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Bits to a float vector or bits."""
        x, outputs = inputs[0], tensors["weight"].shape[0]
        if not isinstance(x, BitVector) or not agree(x.channels, attrs["features"]):
            raise GraphError(f"Expected a vector of {attrs['features']} bits as input, but got {x}.")
        if "threshold" in tensors:
            self.check_bits(inputs)
            return [BitVector(outputs)]
        self.check_sum(inputs, Vector(outputs))
        return [Vector(outputs)]

    def operand(self, shape: tuple[int, ...], attrs: Attrs) -> Bits:
        """A vector."""
        (features,) = shape
        return BitVector(features)

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply, then the epilogue."""
        return [_run([x[None, None] for x in inputs], prepared, (attrs["features"], PIXEL, 0), 1)[0, 0]]

    def accumulate(self, x: np.ndarray, attrs: Attrs, prepared: Any) -> np.ndarray:
        """Raw accumulators, int32 (O), of packed bits."""
        return reference.xnor_accumulate(x[None, None], prepared.weight, attrs["features"], PIXEL, 0)[0, 0]


def _run(inputs: list[np.ndarray], layer: _Prepared, geometry: tuple[int, Windows, int], out_groups: int) -> np.ndarray:
    if layer.bits:
        return reference.xnor_bits(inputs[0], layer.weight, *geometry, layer.first, layer.second, out_groups)
    return reference.xnor_float(inputs[0], layer.weight, *geometry, layer.first, layer.second, second_of(inputs))
