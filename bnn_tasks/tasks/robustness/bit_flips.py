"""Bit flips in an artifact's packed weights, as a faulty or attacked memory makes them: at random, or given."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bnn_tasks.runtime.errors import ArtifactError
from bnn_tasks.runtime.format import load, save
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.packed import PackedLayer
from bnn_tasks.tasks.robustness.artifact import ArtifactModel


class Bit(NamedTuple):
    """One stored weight.

    Attributes:
        tensor: name in the artifact: the layer's with ``.weight``, of a layer of several bases ``.basis0`` and so on.
        row: output channel.
        place: within the row, in the (input channel, y, x) order of the module's weight.
    """

    tensor: str
    row: int
    place: int


class PackedBits:
    """The 1-bit weights of an artifact; the tail bits that fill a row up to whole bytes are none.

    Args:
        path: of the artifact.

    Attributes:
        path: as given.
        shapes: tensor -> (output channels, weights a channel).

    Raises:
        ArtifactError: the file is damaged, of another kind or version, or has no 1-bit weights.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._graph, self._tensors = load(path)
        self.shapes: dict[str, tuple[int, int]] = {}
        for node in self._graph.nodes:
            op = OPS[node.op]
            if isinstance(op, PackedLayer):
                _, inputs, height, width = op.taps(node.attrs)
                tensor = node.tensors["weight"]
                self.shapes[tensor] = (len(self._tensors[tensor]), inputs * height * width)
        if not self.shapes:
            raise ArtifactError(f"{self.path}: Expected an artifact with 1-bit weights, but it has none.")

    @property
    def total(self) -> int:
        """How many weights there are."""
        return sum(rows * places for rows, places in self.shapes.values())

    def signs(self, tensor: str) -> np.ndarray:
        """A tensor's weights, int8 ±1, (output channels, weights a channel).

        Args:
            tensor: a key of ``shapes``.
        """
        _, places = self.shapes[tensor]
        bits = np.unpackbits(self._tensors[tensor], axis=1, count=places, bitorder="little")
        return 2 * bits.astype(np.int8) - 1

    def random(self, count: int, generator: torch.Generator) -> list[Bit]:
        """Draw different bits, all weights alike.

        Args:
            count: how many, 0 to ``total``.
            generator: on the CPU.

        Raises:
            ValueError: `count` is out of range.
        """
        if not 0 <= count <= self.total:
            raise ValueError(f"{self.path}: Expected `count` to be in [0, {self.total}], but got {count}.")
        drawn = torch.randperm(self.total, generator=generator)[:count].numpy()
        names = list(self.shapes)
        ends = np.cumsum([rows * places for rows, places in self.shapes.values()])
        bits = []
        for tensor, index in zip(np.searchsorted(ends, drawn, side="right"), drawn, strict=True):
            rows, places = self.shapes[names[tensor]]
            row, place = divmod(int(index - ends[tensor] + rows * places), places)
            bits.append(Bit(names[tensor], row, place))
        return bits

    def write(self, path: str | os.PathLike[str], bits: Iterable[Bit]) -> None:
        """Write the artifact with bits flipped, and with digests of its own, so that it loads as any other.

        Args:
            path: of the new file.
            bits: to flip; one that is given twice is flipped back.

        Raises:
            OSError: the file cannot be written.
            ValueError: there is no such bit.
        """
        tensors = {**self._tensors, **{name: self._tensors[name].copy() for name in self.shapes}}
        for bit in bits:
            rows, places = self.shapes.get(bit.tensor, (0, 0))
            if not (0 <= bit.row < rows and 0 <= bit.place < places):
                raise ValueError(
                    f"{self.path}: Expected bits of {dict(list(self.shapes.items())[:5])} (rows, places), but got {bit}."
                )
            tensors[bit.tensor][bit.row, bit.place // 8] ^= 1 << bit.place % 8
        save(path, self._graph, tensors)


@dataclass(frozen=True)
class FlipPoint:
    """A metric once some bits are flipped.

    Attributes:
        flipped: how many.
        share: of all 1-bit weights.
        score: of the artifact.
    """

    flipped: int
    share: float
    score: float


def flip_curve(
    packed: PackedBits, bits: Sequence[Bit], counts: Sequence[int], score: Callable[[ArtifactModel], float]
) -> list[FlipPoint]:
    """Flip the first bits of a list, ever more of them, and measure what is left on the runtime itself.

    Args:
        packed: the artifact.
        bits: in the order in which they are flipped.
        counts: how many each time, 0 to ``len(bits)``; 0 is the artifact as it is.
        score: of a flipped artifact, accuracy for instance.

    Returns:
        A point for each count.

    Raises:
        ValueError: a count is out of range, or a bit does not exist.
    """
    if wrong := [count for count in counts if not 0 <= count <= len(bits)]:
        raise ValueError(f"Expected `counts` in [0, {len(bits)}], the bits that are given, but got {wrong[0]}.")
    points = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "flipped.safetensors"
        for count in counts:
            packed.write(target, bits[:count])
            points.append(FlipPoint(count, count / packed.total, score(ArtifactModel(target))))
    return points
