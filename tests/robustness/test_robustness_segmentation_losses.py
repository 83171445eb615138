"""What attackers of segmenters raise in a pixel, against the papers' formulas written out."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bnn_tasks.robustness.segmentation_losses import (
    VOID,
    CosPGDLoss,
    JensenShannon,
    MaskedCrossEntropy,
    MaskedSpherical,
    PixelCrossEntropy,
    PixelLoss,
    SegPGDLoss,
    mean_of_pixels,
)

LOSSES = [PixelCrossEntropy, SegPGDLoss, CosPGDLoss, MaskedCrossEntropy, MaskedSpherical, JensenShannon]


def logits_and_masks() -> tuple[Tensor, Tensor]:
    """Two images, the rim of the first void; about half of the pixels are right."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(2, 4, 5, 6, generator=generator)
    masks = torch.where(torch.rand(2, 5, 6, generator=generator) < 0.5, logits.argmax(1), 1)
    masks[0, 0] = VOID
    return logits, masks


def naive(loss: type[PixelLoss], z: np.ndarray, y: int, progress: float) -> float:
    """One pixel, from the papers' formulas in float64."""
    if y == VOID:
        return 0.0
    z = z.astype(np.float64)
    p, one_hot, right = np.exp(z) / np.exp(z).sum(), np.eye(len(z))[y], z.argmax() == y
    cross_entropy = -math.log(p[y])
    middle = (p + one_hot) / 2
    kl = [sum(a * math.log(a / m) for a, m in zip(q, middle) if a > 0) for q in (p, one_hot)]
    return {
        PixelCrossEntropy: cross_entropy,
        SegPGDLoss: (1 - progress / 2 if right else progress / 2) * cross_entropy,
        CosPGDLoss: p @ one_hot / np.linalg.norm(p) * cross_entropy,
        MaskedCrossEntropy: cross_entropy if right else 0.0,
        MaskedSpherical: -z[y] / np.linalg.norm(z) if right else 0.0,
        JensenShannon: sum(kl) / 2,
    }[loss]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_losses_are_their_formulas(loss: type[PixelLoss], progress: float) -> None:
    logits, masks = logits_and_masks()
    found = loss()(logits, masks, progress)
    expected = [
        [[naive(loss, logits[b, :, y, x].numpy(), int(masks[b, y, x]), progress) for x in range(6)] for y in range(5)]
        for b in range(2)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_along_the_gradient_raises_the_loss_and_void_pixels_have_none(loss: type[PixelLoss]) -> None:
    logits, masks = logits_and_masks()
    logits.requires_grad_()
    before = mean_of_pixels(loss()(logits, masks, 0.5), masks)
    (gradient,) = torch.autograd.grad(before.sum(), logits)
    assert gradient[0, :, 0].abs().max() == 0
    after = mean_of_pixels(loss()((logits + 1e-2 * gradient).detach(), masks, 0.5), masks)
    assert (after > before).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_extreme_logits_and_of_nothing_are_finite(loss: type[PixelLoss]) -> None:
    logits = torch.tensor([[1e4, -1e4], [0.0, 0.0]]).view(2, 2, 1, 1).requires_grad_()
    for y in (0, 1, VOID):
        masks = torch.full((2, 1, 1), y)
        values = mean_of_pixels(loss()(logits, masks, 0.5), masks)
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert torch.isfinite(values).all()
        assert torch.isfinite(gradient).all()
        assert y != VOID or (values == 0).all()


def test_segpgd_starts_as_the_masked_loss_and_ends_as_half_the_plain_one() -> None:
    logits, masks = logits_and_masks()
    torch.testing.assert_close(SegPGDLoss()(logits, masks, 0.0), MaskedCrossEntropy()(logits, masks))
    torch.testing.assert_close(SegPGDLoss()(logits, masks, 1.0), PixelCrossEntropy()(logits, masks) / 2)
