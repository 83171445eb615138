"""From real values to packed signs."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import reference
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import BitMap, BitVector, Kind, Vector, agree
from bnn_tasks.runtime.ops.attrs import COUNT
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Role, Tensors, float_kind


class _Bits(Op):
    """Float map or vector to bits of the same shape, packed in `groups`, those of the consumer."""

    attrs: ClassVar = {"groups": COUNT}

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Float map or vector to bits."""
        x, groups = float_kind(inputs[0]), attrs["groups"]
        if isinstance(x, Vector):
            if groups != 1:
                raise GraphError(f"Expected `groups` to be 1 for a vector, but got {groups}.")
            return [BitVector(x.channels)]
        if x.channels % groups:
            raise GraphError(f"Expected `groups` to divide {x.channels} channels, but got {groups}.")
        return [BitMap(x.channels, groups, x.height, x.width)]


class Sign(_Bits):
    """Bit = x >= threshold (C, or one for all; 0 where absent), so sign(0) = sign(-0.0) = +1."""

    roles: ClassVar = {"threshold": Role("float32", 1, required=False)}

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Float map or vector to bits."""
        made = super().infer(inputs, attrs, tensors)
        channels = float_kind(inputs[0]).channels
        if "threshold" in tensors and tensors["threshold"].size != 1 and not agree(channels, tensors["threshold"].size):
            raise GraphError(
                f"Expected one threshold, or one for each of {channels} channels, got {tensors['threshold'].size}."
            )
        return made

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Compare and pack."""
        x, groups = inputs[0], attrs["groups"]
        out, nans = reference.pack(x, prepared.get("threshold", np.zeros(1, np.float32)), groups)
        refuse_nan(nans)
        return [out]


class Ones(_Bits):
    """Every bit +1, whatever x is: the plane A_0 of a {0, 1} or shifted activation; only the input's shape matters."""

    constant = True

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Fill up to the tail bits, which are 0."""
        x, groups = inputs[0], attrs["groups"]
        row = np.tile(reference.ones_row(x.shape[-1] // groups), groups)
        return [np.broadcast_to(row, (*x.shape[:-1], len(row))).copy()]


def refuse_nan(nans: int) -> None:
    """Raise GraphError if there are values without a sign."""
    if nans:
        raise GraphError(f"Expected numbers to take the sign of, but {nans} values are NaN; look for it upstream.")
