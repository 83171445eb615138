"""The runtime's graph under construction."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from bnn_tasks.runtime.graph import Node


class ExportError(ValueError):
    """A module that cannot be exported faithfully; the message names the layer."""


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A detached copy, float32 where it was floating point."""
    array = tensor.detach().cpu()
    return np.ascontiguousarray((array.float() if array.is_floating_point() else array).numpy())


class GraphBuilder:
    """Collects nodes in execution order, and their tensors once each.

    Attributes:
        nodes: so far.
        tensors: name -> array.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, np.ndarray] = {}
        self._names: set[str] = set()

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}#{count}"
        self._names.add(unique)
        return unique

    def tensor(self, name: str, value: Tensor | np.ndarray) -> str:
        """Store a tensor under `name`, made unique, and return the name it got.

        A layer that is called twice stores its own tensors once; the thresholds folded into its calls may differ.
        """
        array = value if isinstance(value, np.ndarray) else to_numpy(value)
        unique, count = name, 1
        while not np.array_equal(self.tensors.setdefault(unique, array), array, equal_nan=array.dtype.kind == "f"):
            count += 1
            unique = f"{name}#{count}"
        return unique

    def add(
        self,
        op: str,
        name: str,
        inputs: list[str],
        attrs: dict[str, Any] | None = None,
        tensors: Mapping[str, Tensor | np.ndarray | None] | None = None,
    ) -> str:
        """Append a node with one output and return the output's name.

        Args:
            op: the runtime's operation.
            name: of the layer; made unique.
            inputs: names of values.
            attrs: of the operation.
            tensors: by role, stored as ``layer.role``; None is left out.
        """
        unique = self._unique(name)
        roles = {
            role: self.tensor(f"{name}.{role}", value) for role, value in (tensors or {}).items() if value is not None
        }
        self.nodes.append(Node(unique, op, tuple(inputs), (unique,), dict(attrs or {}), roles))
        return unique
