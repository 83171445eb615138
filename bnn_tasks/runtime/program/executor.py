"""Runs programs: one arena, one set of threads, the programs of the sizes met so far."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.kinds import Kind
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.base import Context
from bnn_tasks.runtime.ops.binary import BinaryLayer
from bnn_tasks.runtime.plan import node_tensors
from bnn_tasks.runtime.prepared import Prepared
from bnn_tasks.runtime.program.compile import compile_program, compile_sums, sums_kind
from bnn_tasks.runtime.program.fuse import has_kernel
from bnn_tasks.runtime.program.memory import aligned
from bnn_tasks.runtime.program.program import Lone, Program, Run
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.threads import Crew
from bnn_tasks.runtime.simd import record as r

PROGRAMS_KEPT = 64


class MetNaN(ArithmeticError):
    """A sign was taken of NaN, possibly of one that a pool leaves out."""


class Executor:
    """Runs a graph for images of any size, one call at a time.

    Args:
        graph: checked.
        tensors: of the file.
        prepared: weights of reference operations.
        threads: of the kernels.
    """

    def __init__(self, graph: Graph, tensors: Mapping[str, np.ndarray], prepared: Prepared, threads: int) -> None:
        self.graph, self.tensors, self.prepared = graph, tensors, prepared
        self.crew = Crew(threads)
        self.store = Store()
        self._programs: OrderedDict[tuple[Any, ...], Program] = OrderedDict()
        self._arena = aligned(0)

    def program(self, height: int, width: int, kinds: Mapping[str, Kind], wanted: Iterable[str]) -> Program:
        """The program for an input size and the values wanted, remembered."""
        values = tuple(sorted(set(wanted)))
        return self._remembered(
            (height, width, values),
            lambda: compile_program(self.graph, self.tensors, kinds, values, self.store, self.crew.threads),
        )

    def _remembered(self, key: tuple[Any, ...], make: Callable[[], Program]) -> Program:
        if key not in self._programs:
            self._programs[key] = make()
            if len(self._programs) > PROGRAMS_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def run(self, image: np.ndarray, kinds: Mapping[str, Kind], wanted: Iterable[str]) -> dict[str, Any]:
        """Values for one [H, W, C] image of any strides, float32, or uint8 that stands for [0, 1]; each is a copy.

        Raises:
            MetNaN: see there; the reference operations tell.
            GraphError: a reference operation refuses its input; names the node.
        """
        return self._run(image if image.flags.aligned else image.copy(), kinds, list(wanted))

    def sums(self, node: Node, bits: np.ndarray, kind: Kind, seconds: list[float] | None = None) -> np.ndarray:
        """Accumulators, int32 [H, W, O] or (O), of a binary layer for packed signs of a kind.

        Args:
            node: the layer.
            bits: packed.
            kind: of `bits`.
            seconds: takes the time of the kernels alone.
        """
        if not has_kernel(node, node_tensors(node, self.tensors), kind, sums_kind(node, self.tensors, kind)):
            op = OPS[node.op]
            assert isinstance(op, BinaryLayer)
            return op.accumulate(bits, node.attrs, self.prepared.of(node))
        key = (node.name, kind)
        program = self._remembered(key, lambda: compile_sums(node, self.tensors, kind, self.store, self.crew.threads))
        table = self._ready(program)
        program.view(self._arena, node.inputs[0])[...] = bits
        taken = self._native(program, table, Run(0, 1))
        if seconds is not None:
            seconds.append(taken)
        return program.view(self._arena, node.outputs[0]).view(np.int32).copy()

    def run_timed(
        self, image: np.ndarray, kinds: Mapping[str, Kind], wanted: Iterable[str], items: list[Run | Lone]
    ) -> list[float]:
        """Seconds of every item, a division of the program's own; results are thrown away."""
        seconds: list[float] = []
        self._run(image, kinds, list(wanted), items, seconds)
        return seconds

    def _run(
        self,
        image: np.ndarray,
        kinds: Mapping[str, Kind],
        wanted: list[str],
        items: list[Run | Lone] | None = None,
        seconds: list[float] | None = None,
    ) -> dict[str, Any]:
        program = self.program(image.shape[0], image.shape[1], kinds, wanted)
        table = self._ready(program)
        table[0, [r.X, r.STRIDE_Y, r.STRIDE_X, r.STRIDE_C]] = image.ctypes.data, *image.strides
        table[0, r.BYTES] = image.dtype == np.uint8
        context = Context(image.shape[0], image.shape[1])
        loose: dict[str, Any] = {}

        def value(name: str) -> Any:
            source = program.aliases.get(name, name)
            if source not in loose:
                return program.view(self._arena, name)
            return loose[name] if source == name else loose[source].reshape(program.shape(name))

        for item in program.items if items is None else items:
            if isinstance(item, Run):
                taken = self._native(program, table, item)
            else:
                taken = self._lone(item, value, loose, context, program)
            if seconds is not None:
                seconds.append(taken)
        return {name: np.array(value(name)) for name in wanted}

    def _ready(self, program: Program) -> np.ndarray:
        if program.arena_bytes > len(self._arena):
            self._arena = aligned(program.arena_bytes)
        return program.bind(self._arena.ctypes.data)

    def _native(self, program: Program, table: np.ndarray, item: Run) -> float:
        """Run steps; seconds in the kernels."""
        table[item.first : item.last, r.NANS] = 0
        address, scratch = table.ctypes.data, self._arena.ctypes.data + program.scratch
        begin = time.perf_counter()
        self.crew.run(address, item.first, item.last, scratch, program.scratch_bytes)
        seconds = time.perf_counter() - begin
        if table[item.first : item.last, r.NANS].any():
            raise MetNaN
        return seconds

    def _lone(
        self, item: Lone, value: Callable[[str], Any], loose: dict[str, Any], context: Context, program: Program
    ) -> float:
        """Run a node by its reference operation; seconds that it took."""
        node = item.node
        begin = time.perf_counter()
        made = program.constants.get(node.name)
        if made is None:
            try:
                made = OPS[node.op].run([value(v) for v in node.inputs], node.attrs, self.prepared.of(node), context)
            except GraphError as error:
                raise GraphError(f"node `{node.name}` ({node.op}): {error}") from error
            if OPS[node.op].constant:
                program.constants[node.name] = made
        for name, array in zip(node.outputs, made, strict=True):
            if name in item.stored:
                program.view(self._arena, name)[...] = array
            else:  # what only looks at the arena would change with it
                loose[name] = array.copy() if np.may_share_memory(array, self._arena) else array
        return time.perf_counter() - begin
