"""The last node of a segmenter."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import ClassMap, Kind
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors, float_map

MAX_CLASSES = 255  # 255 itself is void in masks


class Argmax(Op):
    """Scores of K classes to the class of every pixel: argmax over the channels, the first of equal maxima."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """The map's size stays."""
        x = float_map(inputs[0])
        if x.channels > MAX_CLASSES:
            raise GraphError(f"Expected scores of at most {MAX_CLASSES} classes, but got {x.channels}.")
        return [ClassMap(x.height, x.width)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Take the best class."""
        (x,) = inputs
        if np.isnan(x).any():
            raise GraphError("Expected scores to be numbers, but some are not; look for it upstream.")
        return [x.argmax(axis=2).astype(np.uint8)]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads."""
        return inputs[0].nbytes // 4
