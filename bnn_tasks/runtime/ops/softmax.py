"""The last node of a classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.classification import softmax
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Kind, Vector
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors


class Softmax(Op):
    """Logits to probabilities, both (K)."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """The vector's length stays."""
        if not isinstance(inputs[0], Vector):
            raise GraphError(f"Expected a vector as input, but got {inputs[0]}.")
        return [inputs[0]]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Exponentials over their sum."""
        if not inputs[0].max() < np.inf:  # NaN included
            raise GraphError("Expected logits to be numbers below infinity, but some are not; look for it upstream.")
        return [softmax(inputs[0])]
