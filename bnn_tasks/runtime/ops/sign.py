"""From real values to packed signs."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import kernels
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import BitMap, BitVector, Kind, Vector, agree, words
from bnn_tasks.runtime.ops.attrs import COUNT
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Role, Tensors, float_kind


class Sign(Op):
    """Bit = x >= threshold (C; 0 where absent), so sign(0) = sign(-0.0) = +1. `groups` are those of the consumer."""

    attrs: ClassVar = {"groups": COUNT}
    roles: ClassVar = {"threshold": Role("float32", 1, required=False)}

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Float map or vector to bits."""
        x, groups = float_kind(inputs[0]), attrs["groups"]
        if "threshold" in tensors and not agree(x.channels, tensors["threshold"].size):
            raise GraphError(
                f"Expected one threshold for each of {x.channels} channels, got {tensors['threshold'].size}."
            )
        if isinstance(x, Vector):
            if groups != 1:
                raise GraphError(f"Expected `groups` to be 1 for a vector, but got {groups}.")
            return [BitVector(x.channels)]
        if x.channels % groups:
            raise GraphError(f"Expected `groups` to divide {x.channels} channels, but got {groups}.")
        return [BitMap(x.channels, groups, x.height, x.width)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Compare and pack."""
        x, groups = inputs[0], attrs["groups"]
        channels = x.shape[-1]
        threshold = prepared["threshold"] if "threshold" in prepared else np.zeros(channels, np.float32)
        out = np.empty((*x.shape[:-1], groups * words(channels // groups)), np.uint64)
        nans = kernels.pack(x.reshape(-1, channels), threshold, groups, out.reshape(-1, out.shape[-1]))
        if nans:
            raise GraphError(f"Expected numbers to take the sign of, but {nans} values are NaN; look for it upstream.")
        return [out]
