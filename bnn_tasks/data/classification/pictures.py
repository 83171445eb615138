"""Labelled pictures by name, and where their pixels come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    """One labelled picture.

    Attributes:
        name: unique in its set; for files the path below the set's folder, ``train/cat/0001.jpg``.
        label: 0..K-1.
    """

    name: str
    label: int


class Source(ABC):
    """Decodes pictures by name."""

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """Return a picture as ``runtime.images.read_image`` does.

        Args:
            name: of the picture.

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            ImageError: it cannot be read; the message names the file and the cure.
        """


class ArraySource(Source):
    """Pictures that are in memory.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        names: N of them, unique.
    """

    def __init__(self, images: np.ndarray, names: Sequence[str]) -> None:
        self.images = images
        self.index = {name: index for index, name in enumerate(names)}

    def read(self, name: str) -> np.ndarray:
        """Return a picture.

        Args:
            name: of the picture.

        Returns:
            (H, W, 3) uint8 RGB, a view.
        """
        return self.images[self.index[name]]


@dataclass(frozen=True)
class Pictures:
    """The labelled pictures of a split, in order.

    Attributes:
        samples: names and labels.
        source: decodes them.
    """

    samples: list[Sample]
    source: Source

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int) -> np.ndarray:
        """Decode a picture.

        Args:
            index: 0..len-1.

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            ImageError: it cannot be read.
        """
        return self.source.read(self.samples[index].name)

    def subset(self, indices: Iterable[int]) -> "Pictures":
        """Return some of the pictures.

        Args:
            indices: which, in the order wanted.
        """
        return Pictures([self.samples[index] for index in indices], self.source)


def hold_out(labels: Sequence[int], fraction: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Split indices in two, class by class, always in the same way.

    Of n pictures of a class, ``round(fraction * n)`` are held out: at least one, but never the last one left.

    Args:
        labels: of the pictures.
        fraction: to hold out; 0 < fraction < 1.
        seed: of the draw; numpy's own generator, so that no other seed changes it.

    Returns:
        The indices kept and the indices held out, both ascending.
    """
    generator = np.random.default_rng(seed)
    classes = np.asarray(labels)
    held: set[int] = set()
    for label in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == label))
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.update(members[:count].tolist())
    return [index for index in range(len(classes)) if index not in held], sorted(held)
