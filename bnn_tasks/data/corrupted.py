"""Pictures corrupted as they are read, before they are resized: where cameras and weather corrupt them."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_tasks.robustness.corruptions import corrupt


@dataclass(frozen=True)
class Corrupted:
    """Which corruption a loader shows.

    A picture's random numbers follow from its name and the seed, whatever is read before it and where it lies.

    Attributes:
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: >= 0.
    """

    name: str
    severity: int
    seed: int = 0

    def apply(self, image: np.ndarray, key: str, where: str) -> np.ndarray:
        """Corrupt one picture.

        Args:
            image: (height, width, 3) uint8 RGB.
            key: its name.
            where: what an error calls it.

        Raises:
            ImportError: the corruption library is not installed.
            ValueError: an argument is out of range, or the picture is too small.
        """
        own = np.random.SeedSequence([self.seed, zlib.crc32(key.encode("utf-8", "surrogateescape"))]).generate_state(1)
        try:
            return corrupt(image, self.name, self.severity, int(own[0]))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


class CorruptedReader:
    """Image path -> corrupted pixels: the ``read`` of a `DetectionDataset` or a `SegmentationDataset`.

    Args:
        read: image path -> (height, width, 3) uint8 RGB.
        corrupted: how.
    """

    def __init__(self, read: Callable[[Path], np.ndarray], corrupted: Corrupted) -> None:
        self.read, self.corrupted = read, corrupted

    def __call__(self, path: Path) -> np.ndarray:
        """Read and corrupt.

        Args:
            path: of the image.

        Raises:
            ImageError: it cannot be read.
            ImportError: the corruption library is not installed.
            ValueError: an argument is out of range, or the picture is too small; names the file.
        """
        return self.corrupted.apply(self.read(path), path.name, str(path))
