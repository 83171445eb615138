"""Weights that stay real: the first stage of a training in two."""

from torch import Tensor

from bnn_tasks.binary.weights.base import Basis, WeightBinarizer


class RealWeight(WeightBinarizer):
    """W̃ = W, never ``ready``: activations are binary, weights not yet (Martinez et al., 2020; Liu et al., ReActNet, 2020)."""

    cure = "train a second stage, the same method with its binary weights, from this one's checkpoint (callback ModelWeights)"

    @property
    def ready(self) -> bool:
        """No."""
        return False

    def forward(self, weight: Tensor) -> Tensor:
        """W itself."""
        return weight

    def bases(self, weight: Tensor) -> list[Basis]:
        """None.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"Expected binary weights, but these stay real. Cure: {self.cure}.")
