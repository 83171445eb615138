"""A graph at one input size, compiled to steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import BitMap, BitVector, ClassMap, Kind, PatchBits
from bnn_tasks.runtime.program.encode import Encoded
from bnn_tasks.runtime.program.steps import FIXED, RowStep
from bnn_tasks.runtime.program.table import InArena, Table
from bnn_tasks.runtime.simd import record as r

DTYPES = {BitMap: np.uint64, PatchBits: np.uint64, BitVector: np.uint64, ClassMap: np.uint8}


@dataclass(frozen=True)
class Run:
    """Steps of the table that run one after the other: [first, last)."""

    first: int
    last: int


@dataclass(frozen=True)
class Lone:
    """A node that runs by its reference operation, and which of its values native steps read."""

    node: Node
    stored: tuple[str, ...]


@dataclass
class Program:
    """What to run, and where everything lies.

    Attributes:
        items: in order.
        kinds: of all values.
        places: where values lie in the arena; aliases included.
        aliases: values that lie where another does, and which.
        arena_bytes: of activations and scratch.
        scratch: bytes from the arena's start to the first thread's scratch.
        scratch_bytes: of one thread.
        steps: the table; its first row reads the image.
        labels: what each row does; None for the image.
        rows: what each row was made of; None for the image.
        constants: values of lone nodes that follow from shapes alone, once they have run.
    """

    items: list[Run | Lone]
    kinds: Mapping[str, Kind]
    places: Mapping[str, InArena]
    aliases: Mapping[str, str]
    arena_bytes: int
    scratch: int
    scratch_bytes: int
    steps: Table
    labels: list[RowStep | None]
    rows: list[Encoded | None]
    constants: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _bound: tuple[int, np.ndarray, list[np.ndarray]] | None = None

    def bind(self, arena: int) -> np.ndarray:
        """The table for an arena at an address; bound anew only when the address changes."""
        if self._bound is None or self._bound[0] != arena:
            table = self.steps.bind(arena)
            kept: list[np.ndarray] = []
            for row, encoded in zip(table, self.rows, strict=True):
                if encoded is not None:
                    _attach(row, encoded, arena, kept)
            self._bound = (arena, table, kept)
        return self._bound[1]

    def singly(self) -> list[Run | Lone]:
        """The items, every step of the table on its own."""
        return [
            single
            for item in self.items
            for single in ([Run(i, i + 1) for i in range(item.first, item.last)] if isinstance(item, Run) else [item])
        ]

    def shape(self, value: str) -> tuple[int, ...]:
        """Shape in memory of a value of fixed size."""
        kind = self.kinds[value]
        assert isinstance(kind, FIXED)
        return kind.shape

    def view(self, arena: np.ndarray, value: str) -> np.ndarray:
        """A value in the arena."""
        kind = self.kinds[value]
        assert isinstance(kind, FIXED)
        start = self.places[value].offset
        dtype = DTYPES.get(type(kind), np.float32)
        return arena[start : start + kind.nbytes].view(dtype).reshape(kind.shape)


def _attach(row: np.ndarray, encoded: Encoded, arena: int, kept: list[np.ndarray]) -> None:
    """Give a step's row the addresses of its tables, which `kept` keeps alive."""
    tables = {r.BLOCK_TABLE: encoded.blocks.bind(arena), r.PASSES: encoded.passes.bind(arena)}
    if encoded.inner is not None:
        inner = Table(r.CELLS)
        inner.add(encoded.inner.cells)
        tables[r.INNER] = inner.bind(arena)
        _attach(tables[r.INNER][0], encoded.inner, arena, kept)
    for cell, table in tables.items():
        row[cell] = table.ctypes.data
        kept.append(table)
