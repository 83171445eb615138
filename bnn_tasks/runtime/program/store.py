"""What is computed once for a file and kept for all input sizes: weights and parameters as the kernels read them."""

from collections.abc import Callable
from typing import Any

import numpy as np


class Store:
    """Keeps what it was asked for, by key."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], np.ndarray] = {}

    def once(self, key: tuple[Any, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        """What `make` gave when the key was first asked for."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]
