"""The pictures of a classification set, corrupted as they are read."""

import numpy as np

from bnn_tasks.data.classification.pictures import Source
from bnn_tasks.data.corrupted import Corrupted


class CorruptedSource(Source):
    """The pictures of a source, corrupted.

    Args:
        source: of the pictures.
        corrupted: how.
    """

    def __init__(self, source: Source, corrupted: Corrupted) -> None:
        self.source, self.corrupted = source, corrupted

    def read(self, name: str) -> np.ndarray:
        """Read and corrupt; errors as of `CorruptedReader`.

        Args:
            name: of the picture.
        """
        return self.corrupted.apply(self.source.read(name), name, name)
