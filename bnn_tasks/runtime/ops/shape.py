"""Ops that move values and change none."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import FloatMap, Kind, Vector, agree
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors, float_map


class Flatten(Op):
    """Map to vector in torch's order: channel, row, column."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Map to vector."""
        x = float_map(inputs[0])
        if x.height is None or x.width is None:
            return [Vector(None)]
        return [Vector(math.prod((x.channels, x.height, x.width)))]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Reorder."""
        return [np.ascontiguousarray(inputs[0].transpose(2, 0, 1)).reshape(-1)]


def nearest(size: int, source: int) -> np.ndarray:
    """Source index of each of `size` pixels: ⌊i·(source/size)⌋ in float32, as torch's mode "nearest"."""
    scale = np.float32(source) / np.float32(size)
    return np.minimum((np.arange(size, dtype=np.float32) * scale).astype(np.int64), source - 1)


class ResizeNearest(Op):
    """First input at the second's height and width, torch.nn.functional.interpolate(mode="nearest")."""

    arity = (2, 2)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Channels of the first, size of the second."""
        x, reference = float_map(inputs[0]), float_map(inputs[1])
        return [FloatMap(x.channels, reference.height, reference.width)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Pick rows and columns."""
        x, reference = inputs
        rows, columns = nearest(reference.shape[0], x.shape[0]), nearest(reference.shape[1], x.shape[1])
        return [np.ascontiguousarray(x[rows[:, None], columns])]


class Concat(Op):
    """Channels of all inputs, one after the other."""

    arity = (2, 64)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Maps of one size to a map."""
        maps = [float_map(kind) for kind in inputs]
        if not all(agree(maps[0].height, m.height) and agree(maps[0].width, m.width) for m in maps):
            raise GraphError(f"Expected maps of one height and width, but got {[(m.height, m.width) for m in maps]}.")
        return [FloatMap(sum(m.channels for m in maps), maps[0].height, maps[0].width)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Join."""
        return [np.concatenate(inputs, axis=2)]
