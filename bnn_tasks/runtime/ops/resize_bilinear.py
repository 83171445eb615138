"""Bilinear resizing to the size of another map."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.kinds import FloatMap, Kind
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors, float_map


def neighbours(size: int, source: int) -> tuple[np.ndarray, np.ndarray]:
    """The two source pixels of each pixel along an axis, and their weights, as torch has them in float32.

    Pixel i lies at t = max(0, (i + ½)·source/size - ½): half-pixel centres, the map's edge beyond its outer centres. Its
    pixels are ⌊t⌋ and the next one, or the last one twice; their weights 1 - λ and λ = t - ⌊t⌋.

    Args:
        size: pixels wanted, >= 1.
        source: pixels given, >= 1.

    Returns:
        int64 (size, 2) and float32 (size, 2).
    """
    scale = np.float32(source) / np.float32(size)
    at = np.maximum((np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    first = np.minimum(at.astype(np.int64), source - 1)
    second = np.minimum(first + 1, source - 1)
    share = np.clip(at - first.astype(np.float32), np.float32(0), np.float32(1))
    return np.stack([first, second], axis=1), np.stack([np.float32(1) - share, share], axis=1)


class ResizeBilinear(Op):
    """First input at the second's height and width, F.interpolate(mode="bilinear", align_corners=False) of torch.

    y = v₀·(u₀·a + u₁·b) + v₁·(u₀·c + u₁·d): along the rows first, then across, every product and sum rounded.
    """

    arity = (2, 2)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Channels of the first, size of the second."""
        x, reference = float_map(inputs[0]), float_map(inputs[1])
        return [FloatMap(x.channels, reference.height, reference.width)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Blend columns, then rows."""
        x, reference = inputs
        (rows, down), (columns, across) = (neighbours(reference.shape[i], x.shape[i]) for i in (0, 1))
        wide = x[:, columns[:, 0]] * across[:, 0, None] + x[:, columns[:, 1]] * across[:, 1, None]
        return [wide[rows[:, 0]] * down[:, 0, None, None] + wide[rows[:, 1]] * down[:, 1, None, None]]
