"""What attackers of segmenters raise in every pixel: functions of logits and masks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

VOID = 255  # value of a mask's pixels without a class; they count for nothing


class PixelLoss:
    """Base class: logits z (B, K, H, W) and masks y (B, H, W) -> what is raised in every pixel, p = softmax(z).

    Attributes:
        name: in reports.
    """

    name: str

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """(B, H, W) float32, differentiable, 0 where void.

        Args:
            logits: (B, K, H, W) float32.
            masks: (B, H, W) int64 in [0, K), 255 where void.
            progress: share of the attack's steps that are done, in [0, 1].
        """
        raise NotImplementedError


class PixelCrossEntropy(PixelLoss):
    """-log p_y: PGD on the training loss (Arnab et al., On the Robustness of Semantic Segmentation Models, 2018)."""

    name = "cross_entropy"

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """See the base class."""
        return F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")


class SegPGDLoss(PixelLoss):
    """(1 - λ)·(-log p_y) where the pixel is right, λ·(-log p_y) where it is wrong, λ = progress / 2.

    λ_t = t / 2T of step t of T: wrong pixels stay so first, and count as much as right ones in the end (Gu et al., SegPGD,
    ECCV 2022). Values at different progress are no measure of one another.
    """

    name = "segpgd"

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """See the base class."""
        share = progress / 2
        weight = torch.where(right_pixels(logits, masks), 1 - share, share)
        return weight * F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")


class CosPGDLoss(PixelLoss):
    """w·(-log p_y), w = cos(p, e_y) = p_y / ‖p‖ without gradient, e_y the one-hot mask (Agnihotri et al., CosPGD, 2023)."""

    name = "cospgd"

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """See the base class."""
        with torch.no_grad():
            p = torch.softmax(logits, 1)
            weight = _of_class(p, masks) / torch.linalg.vector_norm(p, dim=1)
        return weight * F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")


class MaskedCrossEntropy(PixelLoss):
    """-log p_y where the pixel is right, 0 elsewhere: wrong pixels have no say (Croce et al., SEA, 2023, masked CE)."""

    name = "masked_cross_entropy"

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """See the base class."""
        return right_pixels(logits, masks) * F.cross_entropy(logits, masks, ignore_index=VOID, reduction="none")


class MaskedSpherical(PixelLoss):
    """-z_y / ‖z‖ where the pixel is right, 0 elsewhere (Croce et al., SEA, 2023, masked spherical loss).

    Blind to the logits' scale, which is what cross-entropy's gradient vanishes by.
    """

    name = "masked_spherical"

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """See the base class."""
        return -_of_class(F.normalize(logits, dim=1), masks) * right_pixels(logits, masks)


class JensenShannon(PixelLoss):
    """½ KL(p ‖ m) + ½ KL(e_y ‖ m), m = (p + e_y) / 2, e_y the one-hot mask (Croce et al., SEA, 2023).

    Of p it depends on p_y alone: log 2 + ½ (p_y log p_y - (1 + p_y) log(1 + p_y)), at most log 2. Its gradient vanishes
    where the pixel is wrong for sure.
    """

    name = "jensen_shannon"

    def __call__(self, logits: Tensor, masks: Tensor, progress: float = 0.0) -> Tensor:
        """See the base class."""
        log = _of_class(torch.log_softmax(logits, 1), masks)
        p = log.exp()
        return (math.log(2) + (p * log - (1 + p) * torch.log1p(p)) / 2) * (masks != VOID)


def right_pixels(logits: Tensor, masks: Tensor) -> Tensor:
    """Which pixels have their true class as the largest logit, (B, H, W) bool; void ones have not.

    Args:
        logits: (B, K, H, W).
        masks: (B, H, W) int64 in [0, K), 255 where void.
    """
    return (logits.argmax(1) == masks) & (masks != VOID)


def mean_of_pixels(values: Tensor, masks: Tensor) -> Tensor:
    """Mean of every image's pixels that are not void, (B,); 0 of an image that is void all over.

    Args:
        values: (B, H, W), 0 where void.
        masks: (B, H, W) int64, 255 where void.
    """
    return values.flatten(1).sum(1) / (masks != VOID).flatten(1).sum(1).clamp(min=1)


def _of_class(values: Tensor, masks: Tensor) -> Tensor:
    """The true class's value of every pixel, (B, H, W); class 0's where void."""
    return values.gather(1, masks.where(masks != VOID, 0)[:, None])[:, 0]
