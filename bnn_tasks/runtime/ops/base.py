"""What every op of the graph declares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import FloatMap, Kind, Vector, agree
from bnn_tasks.runtime.ops.attrs import Attr

Attrs = Mapping[str, Any]
Tensors = Mapping[str, np.ndarray]

BINARY_WEIGHTS = "binary weights"
FLOAT_WEIGHTS = "float weights"
SCALES = "BatchNorm, scales, thresholds"


@dataclass(frozen=True)
class Role:
    """One tensor of a node.

    Attributes:
        dtype: numpy name: float32, int32 or uint8.
        rank: number of axes.
        required: whether a node must have it.
        category: the line of the size table its bytes go to.
    """

    dtype: str
    rank: int
    required: bool = True
    category: str = SCALES


@dataclass(frozen=True)
class Context:
    """What an op may know besides its inputs: the network's input size in pixels."""

    height: int
    width: int


class Op:
    """An op of the closed list. All methods are pure; a subclass overrides what it needs.

    Attributes:
        attrs: checker of each attribute.
        optional_attrs: those a node may leave out; `check` says when.
        roles: the tensors of a node.
        arity: fewest and most inputs.
        produces: what each output is.
        layer: whether it is a convolution or linear layer, which profiles list.
        binary: whether its multiply-adds are XNOR and popcount.
        constant: whether the outputs follow from the inputs' shapes alone.
    """

    attrs: ClassVar[Mapping[str, Attr]] = {}
    optional_attrs: ClassVar[frozenset[str]] = frozenset()
    roles: ClassVar[Mapping[str, Role]] = {}
    arity: ClassVar[tuple[int, int]] = (1, 1)
    produces: ClassVar[tuple[str, ...]] = ("y",)
    layer: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    constant: ClassVar[bool] = False

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """Raise GraphError where attributes and tensors, each legal alone, do not fit each other."""

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Kinds of the outputs; raises GraphError where the inputs do not fit."""
        raise NotImplementedError

    def weight_bits(self, attrs: Attrs, tensors: Tensors) -> int:
        """1-bit parameters, without the bits that fill up a byte."""
        return 0

    def prepare(self, attrs: Attrs, tensors: Tensors) -> Any:
        """Tensors in the layout `run` wants; done once, when a file is opened."""
        return dict(tensors)

    def prepared_bytes(self, attrs: Attrs, tensors: Tensors) -> int:
        """Bytes `prepare` will need, known before it runs."""
        return sum(tensor.nbytes for tensor in tensors.values())

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Values of the outputs for one image."""
        raise NotImplementedError

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Elementary steps: multiply-adds of a layer (padding included), reads of a pool, else bytes written."""
        return sum(output.nbytes for output in outputs)


def float_map(kind: Kind) -> FloatMap:
    """`kind` if it is a float map, else GraphError."""
    if not isinstance(kind, FloatMap):
        raise GraphError(f"Expected a float map as input, but got {kind}.")
    return kind


def float_kind(kind: Kind) -> FloatMap | Vector:
    """`kind` if it is a float map or vector, else GraphError."""
    if not isinstance(kind, FloatMap | Vector):
        raise GraphError(f"Expected a float map or vector as input, but got {kind}.")
    return kind


def expect_same(first: FloatMap | Vector, other: Kind) -> None:
    """Raise GraphError unless `other` can have the shape of `first`."""
    second = float_kind(other)
    same = type(first) is type(second) and agree(first.channels, second.channels)
    if isinstance(first, FloatMap) and isinstance(second, FloatMap):
        same = same and agree(first.height, second.height) and agree(first.width, second.width)
    if not same:
        raise GraphError(f"Expected inputs of one shape, but got {first} and {second}.")


def expect_shape(role: str, tensor: np.ndarray, shape: tuple[int, ...], why: str) -> None:
    """Raise GraphError unless `tensor` has `shape`."""
    if tensor.shape != shape:
        raise GraphError(f"Expected tensor `{role}` to have shape {shape} ({why}), but got {tensor.shape}.")
