"""Pictures corrupted as they are read, before they are resized: where cameras and weather corrupt them."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bnn_tasks.data.classification.pictures import Source
from bnn_tasks.robustness.corruptions import corrupt


class CorruptedReader:
    """Image path -> corrupted pixels: the ``read`` of a `DetectionDataset` or a `SegmentationDataset`.

    A picture's random numbers follow from its file's name and the seed, whatever is read before it and where it lies.

    Args:
        read: image path -> (height, width, 3) uint8 RGB.
        name: of the corruption, one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: >= 0.
    """

    def __init__(self, read: Callable[[Path], np.ndarray], name: str, severity: int, seed: int = 0) -> None:
        self.read, self.name, self.severity, self.seed = read, name, severity, seed

    def __call__(self, path: Path) -> np.ndarray:
        """Read and corrupt.

        Args:
            path: of the image.

        Raises:
            ImageError: it cannot be read.
            ImportError: the corruption library is not installed.
            ValueError: an argument is out of range, or the picture is too small; names the file.
        """
        return _corrupt(str(path), path.name, self.read(path), self.name, self.severity, self.seed)


class CorruptedSource(Source):
    """The pictures of a classification set, corrupted; random numbers as of `CorruptedReader`.

    Args:
        source: of the pictures.
        name: of the corruption, one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: >= 0.
    """

    def __init__(self, source: Source, name: str, severity: int, seed: int = 0) -> None:
        self.source, self.name, self.severity, self.seed = source, name, severity, seed

    def read(self, name: str) -> np.ndarray:
        """Read and corrupt; errors as of `CorruptedReader`.

        Args:
            name: of the picture.
        """
        return _corrupt(name, name, self.source.read(name), self.name, self.severity, self.seed)


def _corrupt(where: str, key: str, image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    own = np.random.SeedSequence([seed, zlib.crc32(key.encode("utf-8", "surrogateescape"))]).generate_state(1)
    try:
        return corrupt(image, name, severity, int(own[0]))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
