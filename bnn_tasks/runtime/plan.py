"""What a graph will do at an input size, found out before it runs: kinds, order, memory and work."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.errors import GraphError, TooSmallError
from bnn_tasks.runtime.graph import Graph, Node, leaves
from bnn_tasks.runtime.kinds import BitMap, Boxes, FloatMap, Kind, PatchBits, Side, Vector
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.attrs import MAX_CHANNELS
from bnn_tasks.runtime.resize import MAX_SIDE

MAX_LIVE_BYTES = 4 << 30  # activations alive at once, for one image
MAX_PREPARED_BYTES = 4 << 30  # weights as the kernels want them
MAX_WORK = 10**13  # multiply-adds for one image: about an hour of one core's float convolution


@dataclass(frozen=True)
class Plan:
    """A graph at one input size.

    Attributes:
        kinds: of every value.
        live_bytes: most bytes of activations alive at once, each freed after its last use; scratch not counted.
        work: elementary steps for one image.
    """

    kinds: dict[str, Kind]
    live_bytes: int
    work: int


@dataclass(frozen=True)
class Step:
    """One node in its turn, and the values that nobody reads after it."""

    node: Node
    free: tuple[str, ...]


def node_tensors(node: Node, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The node's tensors by role."""
    return {role: tensors[name] for role, name in node.tensors.items()}


def prepare_key(node: Node) -> str:
    """Nodes of one key share prepared weights: a head that runs on every level of a pyramid is kept once."""
    return json.dumps([node.op, node.attrs, node.tensors], sort_keys=True)


def prepared_bytes(graph: Graph, tensors: dict[str, np.ndarray]) -> int:
    """Bytes of all weights as the kernels want them."""
    nodes = {prepare_key(node): node for node in graph.nodes}
    return sum(OPS[node.op].prepared_bytes(node.attrs, node_tensors(node, tensors)) for node in nodes.values())


def schedule(graph: Graph, wanted: Iterable[str]) -> list[Step]:
    """The nodes that `wanted` values need, in order; wanted values are never freed."""
    keep = set(wanted)
    needed, nodes = set(keep), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    steps, read_later = [], set(keep)
    for node in nodes:
        touched = {*node.inputs, *node.outputs}
        steps.append(Step(node, tuple(sorted(touched - read_later))))
        read_later |= touched
    return steps[::-1]


def infer_kinds(graph: Graph, tensors: dict[str, np.ndarray], height: Side, width: Side) -> dict[str, Kind]:
    """Kinds of all values at an input size; sides of None are left open.

    Args:
        graph: the graph, read strictly.
        tensors: of the file.
        height: of the input, pixels, or None.
        width: of the input, pixels, or None.

    Returns:
        Value name to kind.

    Raises:
        TooSmallError: a map would shrink to nothing; names the node.
        GraphError: something does not fit; names the node.
    """
    kinds: dict[str, Kind] = {graph.input_name: FloatMap(graph.channels, height, width)}
    for node in graph.nodes:
        try:
            made = OPS[node.op].infer([kinds[v] for v in node.inputs], node.attrs, node_tensors(node, tensors))
            for value, kind in zip(node.outputs, made, strict=True):
                _check_extent(kind)
                kinds[value] = kind
        except GraphError as error:
            raise type(error)(f"node `{node.name}` ({node.op}): {error}") from error
    for value in leaves(graph.outputs):
        if not isinstance(kinds[value], FloatMap | Vector | Boxes):
            raise GraphError(f"Expected `outputs` to name float values, but `{value}` is {kinds[value]}.")
    return kinds


def _check_extent(kind: Kind) -> None:
    if isinstance(kind, FloatMap | BitMap | PatchBits) and kind.channels > MAX_CHANNELS:
        raise GraphError(f"Expected maps of at most {MAX_CHANNELS} channels, but this makes {kind.channels}.")
    if isinstance(kind, FloatMap | BitMap | PatchBits) and max(kind.height or 0, kind.width or 0) > MAX_SIDE:
        raise GraphError(f"Expected maps of at most {MAX_SIDE} px a side, but this makes {kind.height}×{kind.width}.")


def make_plan(graph: Graph, tensors: dict[str, np.ndarray], height: int, width: int) -> Plan:
    """Kinds, memory and work of the whole graph at an input size.

    Args:
        graph: the graph, read strictly.
        tensors: of the file.
        height: of the input, pixels, 1 to 8192.
        width: of the input, pixels, 1 to 8192.

    Returns:
        The plan.

    Raises:
        TooSmallError: a map would shrink to nothing.
        GraphError: a side is out of range, something does not fit, or the size needs more than `MAX_LIVE_BYTES` or `MAX_WORK`.
    """
    if (
        type(height) is not int
        or type(width) is not int
        or not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE
    ):
        raise GraphError(f"Expected input sides in [1, {MAX_SIDE}] px, but got {height}×{width}.")
    kinds = infer_kinds(graph, tensors, height, width)
    work = 0
    for node in graph.nodes:
        made = [kinds[v] for v in node.outputs]
        work += OPS[node.op].cost([kinds[v] for v in node.inputs], made, node.attrs, node_tensors(node, tensors))
    live = peak = kinds[graph.input_name].nbytes
    for step in schedule(graph, [*leaves(graph.outputs), *graph.results]):
        live += sum(kinds[v].nbytes for v in step.node.outputs)
        peak = max(peak, live)
        live -= sum(kinds[v].nbytes for v in step.free)
    if peak > MAX_LIVE_BYTES:
        raise GraphError(f"An input of {height}×{width} px needs {peak} bytes at once; the limit is {MAX_LIVE_BYTES}.")
    if work > MAX_WORK:
        raise GraphError(f"An input of {height}×{width} px needs {work} multiply-adds; the limit is {MAX_WORK}.")
    return Plan(kinds, peak, work)


def smallest_size(graph: Graph, tensors: dict[str, np.ndarray]) -> tuple[int, int]:
    """Smallest (height, width) at which no map shrinks to nothing."""

    def fits(height: Side, width: Side) -> bool:
        try:
            infer_kinds(graph, tensors, height, width)
        except TooSmallError:
            return False
        except GraphError:  # another fault of this size, to be told where it is used
            return True
        return True

    def search(axis: int) -> int:
        low, high = 1, MAX_SIDE
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if fits(*((middle, None) if axis == 0 else (None, middle))) else (middle + 1, high)
            )
        return low

    return search(0), search(1)
