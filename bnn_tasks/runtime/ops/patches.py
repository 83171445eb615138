"""Ops on the real values under a layer's window: XNOR-Net's K map, and HORQ's planes, which are packed patches."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import BitVector, FloatMap, Kind, PatchBits, Vector, known, words
from bnn_tasks.runtime.layouts import Bits
from bnn_tasks.runtime.ops.attrs import Integer
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors, float_kind
from bnn_tasks.runtime.ops.binary import BinaryLayer
from bnn_tasks.runtime.ops.packed import GroupedLayer, scale_and_bias, second_of
from bnn_tasks.runtime.ops.sign import refuse_nan
from bnn_tasks.runtime.ops.windows import WINDOW_ATTRS, output_map, windows_over
from bnn_tasks.runtime.reference import Windows

MAX_PLANES = 16  # plane i takes i + 1 passes over every patch


class _Windows(Op):
    """A convolution's windows over a map of x; a vector is one window of one pixel."""

    attrs: ClassVar = WINDOW_ATTRS

    def windows(self, kind: Kind, attrs: Attrs) -> FloatMap | Vector:
        """One value for each group and window; raises GraphError where the input does not fit."""
        x, groups = float_kind(kind), attrs["groups"]
        kh, kw = attrs["kernel"]
        if isinstance(x, Vector):
            if (groups, kh, kw, *attrs["stride"], *attrs["padding"]) != (1, 1, 1, 1, 1, 0, 0):
                raise GraphError("Expected one window of one pixel for a vector, but got another geometry.")
            return Vector(1)
        if x.channels % groups:
            raise GraphError(f"Expected `groups` to divide {x.channels} channels, but got {groups}.")
        return output_map(x, groups, (kh, kw), attrs)

    def geometry(self, x: np.ndarray, attrs: Attrs) -> tuple[int, Windows, int]:
        """Groups, windows, and the value of a tap outside."""
        return attrs["groups"], windows_over(x, tuple(attrs["kernel"]), attrs), attrs["pad_value"]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads: one for each window and tap."""
        x, y = float_kind(inputs[0]), outputs[-1]
        kh, kw = attrs["kernel"]
        pixels = known(y.height) * known(y.width) if isinstance(y, FloatMap) else 1
        return known(x.channels) * kh * kw * pixels


class WindowMean(_Windows):
    """Mean of abs(x) under every window, for each of `groups`: XNOR-Net's K map. Outside the map x is `pad_value`."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map of C channels to one of G."""
        return [self.windows(inputs[0], attrs)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Average, in float64."""
        x = inputs[0] if inputs[0].ndim == 3 else inputs[0][None, None]
        out = reference.window_mean(x, *self.geometry(x, attrs))
        return [out if inputs[0].ndim == 3 else out[0, 0]]


class ResidualSign(_Windows):
    """H_i = sign(R_i) and β_i = mean(abs(R_i)) of every patch of every group, i = `index` (HORQ).

    R_0 = the patch, taps outside the map being `pad_value`; R_{i+1} = R_i - β_i·H_i. With `pad_value` 0 a tap outside has
    no sign and stays 0, and is counted in the mean. Taps run (channel, y, x). A vector is one patch; its signs are a
    vector of bits.
    """

    attrs: ClassVar = {**WINDOW_ATTRS, "index": Integer(0, MAX_PLANES - 1)}
    produces = ("signs", "beta")

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to packed patches and a map of G channels, vector to bits and one value."""
        beta = self.windows(inputs[0], attrs)
        x = float_kind(inputs[0])
        if isinstance(beta, Vector):
            return [BitVector(x.channels), beta]
        kh, kw = attrs["kernel"]
        return [PatchBits(known(x.channels) * kh * kw, attrs["groups"], beta.height, beta.width), beta]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Gather, subtract the planes before, take signs."""
        vector = inputs[0].ndim == 1
        x = inputs[0][None, None] if vector else inputs[0]
        bits, beta, nans = reference.residual_signs(x, *self.geometry(x, attrs), attrs["index"])
        refuse_nan(nans)
        return [bits[0, 0, : words(len(inputs[0]))], beta[0, 0]] if vector else [bits, beta]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads: one for each patch, tap and plane."""
        return super().cost(inputs, outputs, attrs, tensors) * (attrs["index"] + 1)


class BinaryPatches(GroupedLayer, BinaryLayer):
    """Σ over a patch's taps of w·h, taps outside counting 0, then the epilogue of every packed layer.

    A 1 × 1 convolution, a patch being a pixel: `channels` are the taps of all groups' patches; weight packed OIHW bits
    (O, ⌈channels/groups/8⌉).
    """

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Packed patches to a map."""
        x = inputs[0]
        if not isinstance(x, PatchBits) or (x.channels, x.groups) != (attrs["channels"], attrs["groups"]):
            raise GraphError(
                f"Expected packed patches of {attrs['channels']} taps in {attrs['groups']} groups, but got {x}."
            )
        y = FloatMap(tensors["weight"].shape[0], x.height, x.width)
        self.check_sum(inputs, y)
        return [y]

    def operand(self, shape: tuple[int, ...], attrs: Attrs) -> Bits:
        """Packed patches."""
        channels, height, width = shape
        return PatchBits(channels, attrs["groups"], height, width)

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Tiled weight and the epilogue's constants."""
        return self.tiled(attrs, tensors), *scale_and_bias(tensors)

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Multiply, scale, add."""
        _, scale, bias = prepared
        sums = self.accumulate(inputs[0], attrs, prepared).astype(np.float32)
        return [reference.add_scaled(sums, scale, bias, second_of(inputs))]

    def accumulate(self, x: np.ndarray, attrs: Attrs, prepared: Any) -> np.ndarray:
        """Raw accumulators, int32 [OH, OW, O], of packed patches."""
        return reference.patch_accumulate(x, prepared[0])
