"""What runs as one: the steps of a program, before they have an address."""

from dataclasses import dataclass, field

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import BitMap, BitVector, Boxes, ClassMap, FloatMap, Kind, PatchBits, Vector, known

FIXED = FloatMap | BitMap | PatchBits | Vector | BitVector | Boxes | ClassMap  # kinds whose size the input's gives

# "node": an operation on the blocks; "pool": on their rows, kept aside. To memory: "write" a value, "sums" as integers,
# "pack" its signs, a layer's "threshold" bits.
Event = tuple[str, Node | None, str]


@dataclass
class FusedStep:
    """Nodes that run as one step.

    Attributes:
        source: the value that is loaded, where the first node is no root; else None.
        nodes: in order; the first is the root where `source` is None.
        events: what happens in order: (event, node, value made or written).
        others: by node's name, what it reads from memory besides the value in cache.
    """

    source: str | None
    nodes: list[Node] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)

    @property
    def reads(self) -> set[str]:
        """Values that lie in memory when the step starts."""
        first = () if self.source is None else (self.source,)
        pooled = {self.others[node.name][0] for event, node, _ in self.events if event == "pool" and node is not None}
        return {*first, *(value for values in self.others.values() for value in values)} - pooled

    @property
    def writes(self) -> list[str]:
        """Values that lie in memory when it is done."""
        return [value for event, _, value in self.events if event not in ("node", "pool")]

    def halves(self) -> "tuple[FusedStep, FusedStep] | None":
        """What comes before the pool, and the rest from the pool on; None where there is none."""
        at = next((i for i, (event, *_) in enumerate(self.events) if event == "pool"), None)
        if at is None:
            return None
        pool = self.events[at][1]
        assert pool is not None
        index = self.nodes.index(pool)
        first = FusedStep(None, self.nodes[:index], self.events[:at], self.others)
        return first, FusedStep(
            None, self.nodes[index:], [("node", *self.events[at][1:]), *self.events[at + 1 :]], self.others
        )


@dataclass
class LoneNode:
    """A node that runs by its reference operation.

    Attributes:
        node: the node.
        reads: values that it reads, each by the name it lies in memory under.
    """

    node: Node
    reads: set[str]

    @property
    def writes(self) -> list[str]:
        """Values it makes."""
        return list(self.node.outputs)


@dataclass
class BitPoolStep:
    """A max-pool on packed signs: max and a rising function commute, so a sign behind both is that of any tap.

    Attributes:
        source: packed signs of what the pool would have read.
        pool: the pool.
        value: packed signs that it makes.
        rising: bool (C); where it is False the function in between falls, and the sign is that of all taps.
    """

    source: str
    pool: Node
    value: str
    rising: np.ndarray

    @property
    def reads(self) -> set[str]:
        """Values that it reads."""
        return {self.source}

    @property
    def writes(self) -> list[str]:
        """Values that it makes."""
        return [self.value]


@dataclass
class ClassMapStep:
    """Scores resized and their argmax taken at once, so that the resized scores never lie in memory.

    Attributes:
        source: the scores before they are resized.
        resize: the node that resizes them.
        argmax: the node that reads nothing else, and alone.
    """

    source: str
    resize: Node
    argmax: Node

    @property
    def reads(self) -> set[str]:
        """Values that it reads."""
        return {self.source}

    @property
    def writes(self) -> list[str]:
        """Values that it makes."""
        return list(self.argmax.outputs)


@dataclass
class JoinStep:
    """One map of several that are joined, written to its channels of the whole.

    Attributes:
        source: the map.
        concat: the node that joins.
        channel: of the whole, where the map's first one goes.
    """

    source: str
    concat: Node
    channel: int

    @property
    def reads(self) -> set[str]:
        """Values that it reads."""
        return {self.source}

    @property
    def writes(self) -> list[str]:
        """Values that it makes, each in part."""
        return list(self.concat.outputs)


RowStep = FusedStep | BitPoolStep | ClassMapStep | JoinStep  # those that are a row of the program's table
AnyStep = RowStep | LoneNode


def extent(kind: Kind) -> tuple[int, int, int]:
    """Channels, height and width of a value of fixed size; a vector is one pixel."""
    if isinstance(kind, FloatMap | BitMap):
        return kind.channels, known(kind.height), known(kind.width)
    assert isinstance(kind, Vector | BitVector)
    return known(kind.channels), 1, 1
