"""Which signs of a layer have changed, between two looks and since the first one."""

import numpy as np


class SignHistory:
    """The signs of one layer at the last look, and whether each was the same at every look; a bit each.

    Args:
        signs: (O, n) ±1, the first look.
    """

    def __init__(self, signs: np.ndarray) -> None:
        self._start(signs)

    def _start(self, signs: np.ndarray) -> None:
        self.count = signs.size
        self.last = np.packbits(signs > 0)
        self.changed = np.zeros_like(self.last)

    def look(self, signs: np.ndarray) -> tuple[float, float]:
        """Look again.

        Args:
            signs: (O, n) ±1; of another size (a method has just become binary), it is the first look again.

        Returns:
            Share of the signs that differ from the last look, and share that was the same at every look; both in [0, 1]. What
            flips there and back between two looks goes unseen.
        """
        if signs.size != self.count:
            self._start(signs)
        now = np.packbits(signs > 0)
        flipped = now ^ self.last
        self.last = now
        self.changed |= flipped
        return self._share(flipped), 1 - self._share(self.changed)

    def _share(self, bits: np.ndarray) -> float:
        return int(np.unpackbits(bits).sum()) / self.count
