"""A graph becomes a program: fused, laid out in memory, encoded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.kinds import FloatMap, Kind
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.plan import MAX_LIVE_BYTES, node_tensors
from bnn_tasks.runtime.program.encode import Encoded, Encoder
from bnn_tasks.runtime.program.fuse import Fuser
from bnn_tasks.runtime.program.memory import place_values, round_up
from bnn_tasks.runtime.program.program import Lone, Program, Run
from bnn_tasks.runtime.program.steps import FIXED, AnyStep, FusedStep, LoneNode, RowStep
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.table import InArena, Table
from bnn_tasks.runtime.simd import record as r


def compile_program(
    graph: Graph,
    tensors: Mapping[str, np.ndarray],
    kinds: Mapping[str, Kind],
    wanted: Iterable[str],
    store: Store,
    threads: int,
) -> Program:
    """Fuse, lay out memory, encode.

    Args:
        graph: checked.
        tensors: of the file.
        kinds: of all values, at one input size.
        wanted: values that must lie in memory at the end.
        store: of the file.
        threads: that will run it.

    Raises:
        GraphError: values and scratch do not keep to `MAX_LIVE_BYTES`.
    """
    fuser = Fuser(graph, tensors, kinds, wanted)
    steps, kinds = fuser.steps(), fuser.kinds
    image, normalizer = _image(graph, steps, fuser.wanted)
    if normalizer is not None:
        steps = steps[1:]
    places, total = _places(steps, kinds, image, fuser.wanted)
    aliased = {alias: places[value] for alias, value in fuser.aliases.items() if value in places}
    stored, places = places.keys(), places | aliased
    table = Table(r.CELLS)
    rows: list[Encoded | None] = [None]
    labels: list[RowStep | None] = [None]
    items: list[Run | Lone] = [Run(0, 1)]
    gathered = 0
    encoder = Encoder(tensors, kinds, places, store, threads)
    table.add(_image_row(graph, image, normalizer, tensors, kinds, places))
    for step in steps:
        if isinstance(step, LoneNode):
            items.append(Lone(step.node, tuple(v for v in step.node.outputs if v in stored)))
            continue
        encoded = encoder.encode(step)
        gathered = max(gathered, encoded.scratch)
        if isinstance(items[-1], Run):
            items[-1] = Run(items[-1].first, len(table) + 1)
        else:
            items.append(Run(len(table), len(table) + 1))
        table.add(encoded.cells)
        rows.append(encoded)
        labels.append(step)
    scratch_bytes = round_up(r.GATHERED + gathered)
    if total + threads * scratch_bytes > MAX_LIVE_BYTES:
        raise GraphError(
            f"This input size needs {total + threads * scratch_bytes} bytes; the limit is {MAX_LIVE_BYTES}."
        )
    return Program(
        items,
        kinds,
        places,
        fuser.aliases,
        total + threads * scratch_bytes,
        total,
        scratch_bytes,
        table,
        labels,
        rows,
    )


def _places(
    steps: Sequence[AnyStep], kinds: Mapping[str, Kind], image: str, wanted: set[str]
) -> tuple[dict[str, InArena], int]:
    """Where the values lie that some step of the table reads or writes, and the bytes that they take together."""
    births, deaths = {image: 0}, {image: 0}
    native: set[str] = {image}
    for index, step in enumerate(steps, start=1):
        for value in step.writes:
            deaths[value] = index
            births.setdefault(value, index)  # of joined maps several steps write one value
        for value in step.reads:
            deaths[value] = max(deaths[value], index)
        if not isinstance(step, LoneNode):
            native.update(step.writes, step.reads)
    for value in wanted:
        deaths[value] = len(steps) + 1
    sizes = {value: _nbytes(kinds[value]) for value in native & births.keys()}
    instead: dict[str, str] = {}
    for index, step in enumerate(steps, start=1):
        pair = _overwritten(step, kinds)
        if pair is not None and deaths[pair[1]] == index:
            value, other = pair
            instead[value] = instead.get(other, other)
            deaths[instead[value]] = deaths[value]
    offsets, total = place_values({v: size for v, size in sizes.items() if v not in instead}, births, deaths)
    return {value: InArena(offsets[instead.get(value, value)]) for value in sizes}, total


def _overwritten(step: AnyStep, kinds: Mapping[str, Kind]) -> tuple[str, str] | None:
    """The real map that a step writes, and one that it may write it over: read place by place, and before.

    The map that a residual sum grows in then stays in cache from layer to layer.
    """
    written = [value for event, _, value in step.events if event == "write"] if isinstance(step, FusedStep) else []
    if not isinstance(step, FusedStep) or len(written) != 1:
        return None
    before: list[str] = [] if step.source is None else [step.source]
    barred: set[str] = set()
    done = False
    for event, node, _ in step.events:
        done |= event == "write"
        if event == "pool":  # rows behind those that are written are still to be read
            barred.update(before)
        elif node is not None and event == "node":
            first = step.source is None and node is step.nodes[0]
            others = step.others[node.name]
            barred.update(others[:1] if first else [], others if done else [])
            before += others
    fitting = (other for other in before if other not in barred and kinds[other] == kinds[written[0]])
    return next(((written[0], other) for other in fitting), None)


def compile_sums(node: Node, tensors: Mapping[str, np.ndarray], kind: Kind, store: Store, threads: int) -> Program:
    """One binary layer, from packed signs to its integer sums, int32 in the place of its real output."""
    (x, *_), (y,) = node.inputs, node.outputs
    kinds: dict[str, Kind] = {x: kind, y: sums_kind(node, tensors, kind)}
    offset = round_up(_nbytes(kinds[x]))
    places = {x: InArena(0), y: InArena(offset)}
    step = FusedStep(None, [node], [("node", node, y), ("sums", None, y)], {node.name: [x]})
    encoded = Encoder(tensors, kinds, places, store, threads).encode(step)
    table = Table(r.CELLS)
    table.add(encoded.cells)
    scratch, stride = offset + round_up(_nbytes(kinds[y])), round_up(r.GATHERED + encoded.scratch)
    total = scratch + threads * stride
    return Program([], kinds, places, {}, total, scratch, stride, table, [step], [encoded])


def sums_kind(node: Node, tensors: Mapping[str, np.ndarray], kind: Kind) -> Kind:
    """Kind of a binary layer's real output for packed signs of a kind, which its sums have the shape of."""
    roles = node_tensors(node, tensors)
    attrs = {name: value for name, value in node.attrs.items() if name != "out_groups"}
    (made,) = OPS[node.op].infer([kind], attrs, {"weight": roles["weight"]})
    return made


def _nbytes(kind: Kind) -> int:
    assert isinstance(kind, FIXED)
    return kind.nbytes


def _image(graph: Graph, steps: list[AnyStep], wanted: set[str]) -> tuple[str, Node | None]:
    """The value that the image is read to, and the node that normalises it on the way, if one alone reads it."""
    name = graph.input_name
    readers = [step for step in steps if name in step.reads]
    if len(readers) == 1 and readers[0] is steps[0] and name not in wanted:
        step = readers[0]
        if isinstance(step, FusedStep) and [event for event, *_ in step.events] == ["node", "write"]:
            (node,) = step.nodes
            if node.op == "normalize":
                return node.outputs[0], node
    return name, None


def _image_row(
    graph: Graph,
    image: str,
    normalizer: Node | None,
    tensors: Mapping[str, np.ndarray],
    kinds: Mapping[str, Kind],
    places: Mapping[str, InArena],
) -> dict[int, Any]:
    kind = kinds[image]
    assert isinstance(kind, FloatMap)
    height, width, channels = kind.shape
    mean, std = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    if normalizer is not None:
        given = node_tensors(normalizer, tensors)
        mean, std = (np.ascontiguousarray(np.broadcast_to(given[key], channels)) for key in ("mean", "std"))
    return {
        r.KIND: r.IMAGE,
        r.POSITIONS: height * width,
        r.WIDTH: width,
        r.CHANNELS: channels,
        r.OUT: places[image],
        r.MEAN: mean,
        r.STD: std,
        r.VALUES: ((np.arange(256, dtype=np.float32) / np.float32(255) - mean[:, None]) / std[:, None]),
    }
