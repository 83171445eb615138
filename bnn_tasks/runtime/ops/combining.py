"""Ops that make one real map of several, or of several groups of channels, value by value."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import FloatMap, Kind, agree
from bnn_tasks.runtime.ops.attrs import COUNT
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Role, Tensors, expect_same, float_kind, float_map


class Add(Op):
    """Sum of two or more equal float kinds, from left to right."""

    arity = (2, 64)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """All inputs are one kind."""
        first = float_kind(inputs[0])
        for other in inputs[1:]:
            expect_same(first, other)
        return [first]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Add."""
        y = inputs[0] + inputs[1]
        for other in inputs[2:]:
            y += other
        return [y]


class WeightedSum(Op):
    """Σ_k weight_k · x_k over K equal float kinds, from left to right; weight (K): parallel branches (GroupNet), gates."""

    roles: ClassVar = {"weight": Role("float32", 1)}
    arity = (1, 64)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """All inputs are one kind, with a weight each."""
        if tensors["weight"].size != len(inputs):
            raise GraphError(f"Expected {len(inputs)} weights, one an input, but got {tensors['weight'].size}.")
        first = float_kind(inputs[0])
        for other in inputs[1:]:
            expect_same(first, other)
        return [first]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Scale and add."""
        y = inputs[0] * prepared["weight"][0]
        for x, weight in zip(inputs[1:], prepared["weight"][1:], strict=True):
            y += x * weight
        return [y]


class Multiply(Op):
    """y_c = x_c · f_⌊c·G/C⌋: a map of C channels times one of G, of the same size, each for C/G channels in turn.

    G = C multiplies two maps; G = 1 is XNOR-Net's K map.
    """

    arity = (2, 2)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """The first input's kind."""
        x, factor = float_kind(inputs[0]), float_kind(inputs[1])
        same = type(x) is type(factor)
        if isinstance(x, FloatMap) and isinstance(factor, FloatMap):
            same = same and agree(x.height, factor.height) and agree(x.width, factor.width)
        if x.channels is not None and factor.channels is not None:
            same = same and x.channels % factor.channels == 0
        if not same:
            raise GraphError(
                f"Expected a factor of the same size, whose channels divide the other's, but got {x} and {factor}."
            )
        return [x]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply, group by group."""
        x, factor = inputs
        grouped = x.reshape(*x.shape[:-1], factor.shape[-1], -1) * factor[..., None]
        return [grouped.reshape(x.shape)]


class ScaleMap(Op):
    """x·scale, scale (C, H, W): XNOR-Net++'s scales of every place, which tie a network to one input size."""

    roles: ClassVar = {"scale": Role("float32", 3)}

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """The kind stays; the map has the scale's size."""
        x, (channels, height, width) = float_map(inputs[0]), tensors["scale"].shape
        if x.channels != channels:
            raise GraphError(f"Expected a map of {channels} channels (tensor `scale`), but got {x.channels}.")
        if not agree(x.height, height) or not agree(x.width, width):
            raise GraphError(
                f"Expected a map of {height}×{width} px, to which the scales are tied, but got {x.height}×{x.width}. "
                "Cure: the input size that the network was exported at."
            )
        return [FloatMap(channels, height, width)]

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Scale as [H, W, C]."""
        return np.ascontiguousarray(tensors["scale"].transpose(1, 2, 0))

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply."""
        return [inputs[0] * prepared]


class ChannelGroupMean(Op):
    """y_c = (Σ_{j<r} x_{j·C + c}) / r: the mean of r blocks of C = `channels` channels each, added one after the other."""

    attrs: ClassVar = {"channels": COUNT}

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to map of C channels."""
        x = float_map(inputs[0])
        if x.channels % attrs["channels"]:
            raise GraphError(f"Expected `channels` to divide {x.channels} input channels, but got {attrs['channels']}.")
        return [FloatMap(attrs["channels"], x.height, x.width)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Average."""
        x, channels = inputs[0], attrs["channels"]
        y = x[..., :channels].copy()
        for start in range(channels, x.shape[2], channels):
            y += x[..., start : start + channels]
        return [y / np.float32(x.shape[2] // channels)]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads."""
        return inputs[0].nbytes // 4
