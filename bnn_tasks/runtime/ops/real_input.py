"""Layers whose weights alone are binary: packed in the file, their activations real (BinaryConnect, BWN)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Kind, Vector, agree
from bnn_tasks.runtime.ops.attrs import COUNT
from bnn_tasks.runtime.ops.base import Attrs, Context, Tensors, float_map
from bnn_tasks.runtime.ops.packed import GroupedLayer, PackedLayer, VectorLayer, scale_and_bias, second_of
from bnn_tasks.runtime.ops.windows import WINDOW_ATTRS, output_map, windows_over


class _RealInputLayer(PackedLayer):
    """Float sums: at work the weights are ±1 in float32, as a float layer's."""

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Weight as [groups, kh, kw, I, O], and the epilogue's constants."""
        groups, inputs, kh, kw = self.taps(attrs)
        bits = np.unpackbits(tensors["weight"], axis=1, count=inputs * kh * kw, bitorder="little")
        signs = (2 * bits.astype(np.float32) - 1).reshape(groups, -1, inputs, kh, kw)
        return np.ascontiguousarray(signs.transpose(0, 3, 4, 2, 1)), *scale_and_bias(tensors)

    def prepared_bytes(self, attrs: Attrs, tensors: Tensors) -> int:
        """Four bytes a weight."""
        return 4 * self.weight_bits(attrs, tensors) + 8 * tensors["weight"].shape[0]


class BinaryWeightConv2d(GroupedLayer, _RealInputLayer):
    """Σ over taps of w·x with real x and w = ±1, weight packed OIHW bits, then the epilogue of every packed layer.

    A tap outside the map counts 0 (`pad_value` 0) or has that value (±1).
    """

    attrs: ClassVar = {"channels": COUNT, **WINDOW_ATTRS}

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to map."""
        x = float_map(inputs[0])
        if x.channels != attrs["channels"]:
            raise GraphError(f"Expected a map of {attrs['channels']} channels, but got {x.channels}.")
        kh, kw = attrs["kernel"]
        y = output_map(x, tensors["weight"].shape[0], (kh, kw), attrs)
        self.check_sum(inputs, y)
        return [y]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Convolve, scale, add."""
        weight, scale, bias = prepared
        windows = windows_over(inputs[0], weight.shape[1:3], attrs)
        sums = reference.float_conv2d(inputs[0], weight, np.zeros_like(scale), windows, attrs["pad_value"])
        return [reference.add_scaled(sums, scale, bias, second_of(inputs))]


class BinaryWeightLinear(VectorLayer, _RealInputLayer):
    """Σ w·x over `features` with real x and w = ±1, weight packed bits, then the epilogue of every packed layer."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Vector to vector."""
        x, y = inputs[0], Vector(tensors["weight"].shape[0])
        if not isinstance(x, Vector) or not agree(x.channels, attrs["features"]):
            raise GraphError(f"Expected a vector of {attrs['features']} values as input, but got {x}.")
        self.check_sum(inputs, y)
        return [y]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply, scale, add."""
        weight, scale, bias = prepared
        sums = reference.float_conv2d(inputs[0][None, None], weight, np.zeros_like(scale), reference.PIXEL)[0, 0]
        return [reference.add_scaled(sums, scale, bias, second_of(inputs))]
