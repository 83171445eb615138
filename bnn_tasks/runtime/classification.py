"""From a classifier's logits to its answer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Classification:
    """What one image shows.

    Attributes:
        probabilities: (K,) float32 of sum 1.
    """

    probabilities: np.ndarray

    @property
    def label(self) -> int:
        """The most probable class, in [0, K); the lower label where two are equal."""
        return int(self.probabilities.argmax())

    def top(self, count: int) -> list[int]:
        """The `count` most probable classes, by falling probability; fewer where K is less.

        Args:
            count: >= 0.
        """
        order: list[int] = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return order


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(x - max x) / Σ exp(x - max x) in float32.

    Args:
        logits: (K,) float32, finite; a logit of -inf has probability 0.

    Returns:
        (K,) float32.
    """
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()
