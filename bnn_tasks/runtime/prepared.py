"""Weights as the reference operations want them, made when one first runs."""

from typing import Any

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.plan import node_tensors, prepare_key


class Prepared:
    """Prepared weights by node; nodes of the same layer share them.

    Args:
        tensors: of the file.
    """

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self._tensors = tensors
        self._kept: dict[str, Any] = {}

    def of(self, node: Node) -> Any:
        """A node's weights as its reference operation wants them."""
        key = prepare_key(node)
        if key not in self._kept:
            self._kept[key] = OPS[node.op].prepare(node.attrs, node_tensors(node, self._tensors))
        return self._kept[key]
