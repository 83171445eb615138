"""The runtime's graph under construction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from bnn_tasks.runtime.graph import Node

Stored = Tensor | np.ndarray | str | None  # a node's tensor: its values, or the name under which it is stored


class ExportError(ValueError):
    """A module that cannot be exported faithfully; the message names the layer."""


class ParityError(ExportError):
    """The artifact does not compute what the module computes; the message names the layer."""


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
        tensors: Mapping[str, Stored] | None = None,
    ) -> str:
        """Append a node with one output and return the output's name.

        Args:
            op: the runtime's operation.
            name: of the layer; made unique.
            inputs: names of values.
            attrs: of the operation.
            tensors: by role, stored as ``layer.role``; a string names a tensor that is stored already, None is left out.
        """
        return self.add_several(op, name, inputs, ("",), attrs, tensors)[0]

    def add_several(
        self,
        op: str,
        name: str,
        inputs: list[str],
        outputs: Sequence[str],
        attrs: dict[str, Any] | None = None,
        tensors: Mapping[str, Stored] | None = None,
    ) -> list[str]:
        """Append a node with several outputs and return their names.

        Args:
            op: the runtime's operation.
            name: of the layer; made unique.
            inputs: names of values.
            outputs: what each is, appended to the node's name; empty for the name itself.
            attrs: of the operation.
            tensors: as `add` takes them.
        """
        unique = self._unique(name)
        roles = {
            role: value if isinstance(value, str) else self.tensor(f"{name}.{role}", value)
            for role, value in (tensors or {}).items()
            if value is not None
        }
        values = [f"{unique}.{output}" if output else unique for output in outputs]
        self.nodes.append(Node(unique, op, tuple(inputs), tuple(values), dict(attrs or {}), roles))
        return values
