"""The op that puts the boxes of several maps into one list."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Boxes, Kind
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors
from bnn_tasks.runtime.ops.boxes import MAX_LEVELS


class JoinBoxes(Op):
    """Boxes of all inputs, one after the other: anchors of maps that differ in boxes a cell (SSD's default boxes)."""

    arity = (2, MAX_LEVELS)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """As many boxes as all inputs have."""
        total = 0
        for kind in inputs:
            if not isinstance(kind, Boxes):
                raise GraphError(f"Expected boxes as input, but got {kind}.")
            if kind.count is None:
                return [Boxes(None)]
            total += kind.count
        return [Boxes(total)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Concatenate."""
        return [np.concatenate(inputs)]
