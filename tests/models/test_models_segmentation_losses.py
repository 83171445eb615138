"""Losses of segmentation against loops over pixels."""

import math

import numpy as np
import pytest
import torch
from segmenter_nets import segmenter

from bnn_tasks.models import CrossEntropyLoss, DiceLoss, OHEMCrossEntropyLoss

K = 3


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, K, 5, 7, generator=generator)
    masks = torch.randint(0, K, (2, 5, 7), generator=generator)
    masks[torch.rand(2, 5, 7, generator=generator) < 0.3] = 255
    return logits, masks


def pixels(logits: torch.Tensor, masks: torch.Tensor) -> list[tuple[np.ndarray, int]]:
    """(probabilities, class) of every pixel that is not void."""
    found = []
    for n, y, x in np.ndindex(*masks.shape):
        if masks[n, y, x] != 255:
            e = np.exp(logits[n, :, y, x].double().numpy())
            found.append((e / e.sum(), int(masks[n, y, x])))
    return found


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0], [0.0, 1.0, 0.0]])
def test_cross_entropy(weights: list[float] | None) -> None:
    logits, masks = example()
    w = weights or [1.0] * K
    found = pixels(logits, masks)
    expected = sum(-w[y] * math.log(p[y]) for p, y in found) / sum(w[y] for _, y in found)
    assert float(CrossEntropyLoss(weights)(logits, masks)) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_is_torchs() -> None:
    logits, masks = example()
    expected = torch.nn.functional.cross_entropy(logits, masks, ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(CrossEntropyLoss(label_smoothing=0.1)(logits, masks), expected)


def test_a_class_of_no_weight_does_not_count_where_labels_are_smoothed() -> None:
    logits, masks = example()
    loss = CrossEntropyLoss([0.0, 1.0, 1.0], label_smoothing=0.1)
    assert float(loss(logits, torch.zeros_like(masks))) == 0
    torch.testing.assert_close(loss(logits, masks), loss(logits, masks.where(masks != 0, 255)))


@pytest.mark.parametrize(("threshold", "kept"), [(0.3, 0.05), (0.3, 0.5), (1.0, 0.1), (1e-6, 0.2)])
def test_ohem_averages_the_hardest_pixels(threshold: float, kept: float) -> None:
    logits, masks = example(1)
    true = sorted(p[y] for p, y in pixels(logits, masks))
    count = max(1, round(kept * len(true)))
    hard = [p for p in true if p <= max(threshold, true[count - 1] + 1e-9)]
    expected = sum(-math.log(p) for p in hard) / len(hard)
    assert float(OHEMCrossEntropyLoss(threshold, kept)(logits, masks)) == pytest.approx(expected, rel=1e-5)


def test_dice() -> None:
    logits, masks = example(2)
    masks[masks == 2] = 255  # a class that the batch has not
    found = pixels(logits, masks)
    overlaps = []
    for k in (0, 1):
        both = sum(p[k] for p, y in found if y == k)
        squares, size = sum(p[k] ** 2 for p, _ in found), sum(y == k for _, y in found)
        overlaps.append((2 * both + 1) / (squares + size + 1))
    assert float(DiceLoss(0.5)(logits, masks)) == pytest.approx(0.5 * (1 - np.mean(overlaps)), rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), CrossEntropyLoss([1.0] * K), OHEMCrossEntropyLoss(), DiceLoss()])
def test_void_alone_costs_nothing(loss: torch.nn.Module) -> None:
    logits = example()[0].requires_grad_()
    value = loss(logits, torch.full((2, 5, 7), 255))
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_losses_are_judged_at_the_masks_resolution() -> None:
    net = segmenter(losses=[CrossEntropyLoss(), DiceLoss(2.0)])
    logits = torch.randn(1, 3, 6, 8)
    masks = torch.randint(0, 3, (1, 24, 32))
    full = torch.nn.functional.interpolate(logits, (24, 32), mode="bilinear", align_corners=False)
    expected = {"cross_entropy": CrossEntropyLoss()(full, masks), "dice": DiceLoss(2.0)(full, masks)}
    torch.testing.assert_close(net.loss(logits, masks), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropyLoss([-1.0, 1.0]), "class_weights"),
        (lambda: CrossEntropyLoss([0.0, 0.0]), "class_weights"),
        (lambda: CrossEntropyLoss([]), "class_weights"),
        (lambda: CrossEntropyLoss([1.0, math.nan]), "class_weights"),
        (lambda: CrossEntropyLoss([1.0, math.inf]), "class_weights"),
        (lambda: CrossEntropyLoss(label_smoothing=1.0), "label_smoothing"),
        (lambda: OHEMCrossEntropyLoss(0.0), "threshold"),
        (lambda: OHEMCrossEntropyLoss(kept=0.0), "kept"),
        (lambda: DiceLoss(0.0), "weight"),
        (lambda: segmenter(losses=[CrossEntropyLoss([1.0, 1.0])]), "3 `class_weights`"),
        (lambda: segmenter(losses=[CrossEntropyLoss(), CrossEntropyLoss()]), "each once"),
    ],
)
def test_bad_arguments(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
