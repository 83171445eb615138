"""What is minimised besides a classifier's own losses."""

import math

from torch import Tensor, nn

from bnn_tasks.models import ImageClassifier
from bnn_tasks.robustness.orthogonality import FrobeniusPenalty, GramPenalty, orthogonality
from bnn_tasks.robustness.weight_views import WeightView


class ClassificationAuxiliaryLoss(nn.Module):
    """Base class of the further training losses of a classifier; `bnn_tasks.models.AuxiliaryLoss` is the detectors'.

    Its parameters are trained along and are in the checkpoint, but not in what is exported.
    """

    def forward(
        self, classifier: ImageClassifier, images: Tensor, labels: Tensor, progress: float
    ) -> dict[str, Tensor]:
        """Losses by name, scalars, weights included; they are added to the classifier's.

        Args:
            classifier: that is trained, in training mode.
            images: (B, C, H, W) in [0, 1], the batch before any attack on it.
            labels: (B,) int64.
            progress: share of the run's optimiser steps that are done, in [0, 1].
        """
        raise NotImplementedError


class OrthogonalityLoss(ClassificationAuxiliaryLoss):
    """β/2·Σ_l ‖W_l·W_lᵀ - I‖², DQ-style (Lin, Gan and Han, Defensive Quantization, ICLR 2019); see `orthogonality`.

    The sum runs over layers and grows with their widths, so β is a matter of the net. No value of the paper's is known to us:
    choose on validation.

    Args:
        beta: β, finite and > 0.
        weights: which W: `LatentWeights`, `ScaledBinaryWeights` or `EffectiveWeights`; the loss is logged with its name.
        penalty: None is `FrobeniusPenalty`, the paper's; `CosinePenalty` does not see lengths.

    Raises:
        ValueError: `beta` is out of range; in training, the model has no layer to look at.
    """

    def __init__(self, beta: float, weights: WeightView, penalty: GramPenalty | None = None) -> None:
        super().__init__()
        if not 0 < beta < math.inf:
            raise ValueError(f"Expected `beta` to be finite and > 0, but got {beta}. Cure: leave the loss out for 0.")
        self.beta, self.weights = beta, weights
        self.penalty = FrobeniusPenalty() if penalty is None else penalty

    def forward(
        self, classifier: ImageClassifier, images: Tensor, labels: Tensor, progress: float
    ) -> dict[str, Tensor]:
        """One loss, for instance ``orthogonality_effective_gram``."""
        value = orthogonality(classifier, images, self.weights, self.penalty)
        return {f"orthogonality_{self.weights.name}_{self.penalty.name}": self.beta * value}
