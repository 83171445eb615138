"""Losses of a class a pixel: cross-entropy, its hardest pixels, and the overlap of whole regions."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOID = 255  # VOC's value of pixels without a class; no loss reads them


class SegmentationLoss(nn.Module):
    """Base class: logits (N, K, H, W) float32 and masks (N, H, W) int64 -> scalar.

    Attributes:
        name: under which the loss is logged.
    """

    name: str

    def check_classes(self, num_classes: int) -> None:
        """Raise ValueError where an argument does not fit the number of classes.

        Args:
            num_classes: K.
        """

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss; 0, with gradients of 0, where every pixel is void.

        Args:
            logits: (N, K, H, W) float32.
            masks: (N, H, W) int64 in [0, K), 255 where void.
        """
        raise NotImplementedError


class _PixelLoss(SegmentationLoss):
    """Cross-entropy a pixel, weighted by class.

    Args:
        class_weights: a factor >= 0 a class; None is 1 for all.
        label_smoothing: share of the target spread over all classes, in [0, 1) (Szegedy et al., 2016).
    """

    weight: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        given = [1.0] if class_weights is None else list(class_weights)
        if not any(given) or not all(0 <= weight < math.inf for weight in given):
            raise ValueError(f"Expected `class_weights` to be finite, >= 0 and not all 0, but got {given}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"Expected `label_smoothing` to be in [0, 1), but got {label_smoothing}.")
        weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weight", weight, persistent=False)
        self.label_smoothing = label_smoothing

    def check_classes(self, num_classes: int) -> None:
        """One weight a class."""
        if self.weight is not None and len(self.weight) != num_classes:
            raise ValueError(f"Expected {num_classes} `class_weights`, one a class, but got {len(self.weight)}.")

    def pixels(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted loss, and weight, of every pixel: (N, H, W) each, 0 where void."""
        losses = F.cross_entropy(
            logits, masks, self.weight, ignore_index=VOID, reduction="none", label_smoothing=self.label_smoothing
        )
        inside = masks != VOID
        if self.weight is None:
            return losses, inside.to(losses.dtype)
        weights = self.weight[masks.where(inside, masks.new_zeros(()))] * inside
        return losses.where(weights > 0, losses.new_zeros(())), weights  # smoothing has other classes' weights too


class CrossEntropyLoss(_PixelLoss):
    """Σ w_y · -log softmax(z)_y / Σ w_y over the pixels that are not void.

    Args:
        class_weights: w, a factor >= 0 a class; None is 1 for all. Median frequency balancing (Eigen and Fergus, 2015) is
            what SegNet used on CamVid.
        label_smoothing: share of the target spread over all classes, in [0, 1) (Szegedy et al., 2016).

    Raises:
        ValueError: an argument is out of range.
    """

    name = "cross_entropy"

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Weighted mean over the pixels."""
        losses, weights = self.pixels(logits, masks)
        return losses.sum() / weights.sum().clamp(min=torch.finfo(losses.dtype).tiny)


class OHEMCrossEntropyLoss(_PixelLoss):
    """Cross-entropy of the hardest pixels (online hard example mining, Shrivastava et al., 2016).

    Mean over the pixels whose true class has a probability of at most `threshold`, and over at least `kept` of all pixels,
    the hardest ones, where those are fewer.

    Args:
        threshold: probability in (0, 1]; 0.7 is common in segmentation (HRNet's and mmsegmentation's code).
        kept: least share of the pixels that are not void, in (0, 1].
        class_weights: a factor >= 0 a class; None is 1 for all.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "ohem_cross_entropy"

    def __init__(self, threshold: float = 0.7, kept: float = 0.1, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(class_weights)
        if not 0 < threshold <= 1 or not 0 < kept <= 1:
            raise ValueError(f"Expected `threshold` and `kept` to be in (0, 1], but got {threshold} and {kept}.")
        self.threshold, self.kept = threshold, kept

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Weighted mean over the hardest pixels."""
        losses, weights = self.pixels(logits, masks)
        inside = masks != VOID
        if not inside.any():
            return losses.sum()
        losses, weights = losses[inside], weights[inside]
        with torch.no_grad():
            probabilities = torch.softmax(logits, 1).gather(1, masks.where(inside, 0)[:, None])[:, 0][inside]
            count = max(1, round(self.kept * len(probabilities)))
            limit = probabilities.kthvalue(count).values.clamp(min=self.threshold)
            hard = probabilities <= limit
        return losses[hard].sum() / weights[hard].sum().clamp(min=torch.finfo(losses.dtype).tiny)


class DiceLoss(SegmentationLoss):
    """weight · (1 - mean_k (2 Σ p_k·g_k + s) / (Σ p_k² + Σ g_k + s)), k the batch's classes (Milletari et al., V-Net, 2016).

    p is the softmax, g the one-hot mask, sums run over the batch's pixels that are not void.

    Args:
        weight: finite and > 0.
        smooth: s > 0: what an empty class is divided by.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "dice"

    def __init__(self, weight: float = 1.0, smooth: float = 1.0) -> None:
        super().__init__()
        if not 0 < weight < float("inf") or not 0 < smooth < float("inf"):
            raise ValueError(f"Expected `weight` and `smooth` to be finite and > 0, but got {weight} and {smooth}.")
        self.weight, self.smooth = weight, smooth

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss, over the classes that the batch's masks hold."""
        inside = masks != VOID
        p = torch.softmax(logits, 1) * inside[:, None]
        labels = masks.where(inside, 0)
        right = p.gather(
            1, labels[:, None]
        ).flatten()  # p of each pixel's own class: what p·g leaves, without a one-hot g
        empty = p.new_zeros(logits.shape[1])
        size = empty.index_add(0, labels.flatten(), inside.flatten().to(p.dtype))
        shared = empty.index_add(0, labels.flatten(), right)
        overlap = (2 * shared + self.smooth) / (p.square().sum((0, 2, 3)) + size + self.smooth)
        present = (size > 0).to(p.dtype)
        return self.weight * ((1 - overlap) * present).sum() / present.sum().clamp(min=1)
