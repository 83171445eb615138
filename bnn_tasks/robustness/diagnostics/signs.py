"""What a binary net's signs see: how many change, and how far from the threshold they lie."""

from typing import Any

import torch
from torch import Tensor, nn

from bnn_tasks.binary import BinaryConv2d, BinaryLinear, Threshold
from bnn_tasks.robustness.diagnostics.amplification import Observer, check_evaluation, observed

BINARY = (BinaryConv2d, BinaryLinear)


def thresholds(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """θ of every plane of signs that a layer takes of its input, broadcastable to `x`.

    None of a layer whose activations are real. The residuals of a patch (HORQ) have no threshold over the image and are not
    counted.

    Args:
        layer: a binary layer.
        x: its input, (N, C, H, W) of a convolution, (..., C) of a linear layer.
    """
    assert isinstance(layer, BINARY)
    channels = [-1] if isinstance(layer, BinaryLinear) else [-1, *[1] * (x.dim() - 2)]
    found = []
    for plane in layer.activation_binarizer.planes():
        if isinstance(plane.operand, Threshold):
            theta = plane.operand.threshold
            found.append(x.new_zeros(()) if theta is None else theta.to(x).view(channels))
    return found


def sign_flips(model: nn.Module, images: Tensor, perturbed: Tensor) -> dict[str, Tensor]:
    """Share of a layer's input signs that a perturbation changes, of every image, (B,), by the layer's name.

    The Hamming distance of the bits that the layer multiplies, over their number; where an activation has several planes of
    signs, over all of them. Layers without such planes are left out.

    Args:
        model: in evaluation mode.
        images: (B, C, H, W) in [0, 1].
        perturbed: the same images.

    Raises:
        ValueError: the model is in training mode.
    """
    check_evaluation(model)
    count = len(images)
    totals: dict[str, tuple[Tensor, int]] = {}  # signs that changed, signs

    def observe(name: str) -> Observer:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            (x,) = inputs
            for theta in thresholds(module, x):
                clean, moved = (x >= theta).flatten(1).split(count)
                changed, signs = totals.get(name, (torch.zeros(count, device=x.device), 0))
                totals[name] = (changed + (clean != moved).sum(1), signs + clean.shape[1])

        return hook

    with observed(model, BINARY, observe), torch.no_grad():
        model(torch.cat([images, perturbed]))
    return {name: changed / signs for name, (changed, signs) in totals.items()}


def beyond_clip(model: nn.Module, images: Tensor, clip: float = 1.0) -> dict[str, float]:
    """Share of a layer's inputs with abs(x - θ) > clip, by the layer's name: there a clipped STE has no gradient.

    Args:
        model: in evaluation mode.
        images: (B, C, H, W) in [0, 1].
        clip: > 0; 1 is the clipped STE's own.

    Raises:
        ValueError: the model is in training mode, or `clip` is out of range.
    """
    if not clip > 0:
        raise ValueError(f"Expected `clip` to be > 0, but got {clip}.")
    check_evaluation(model)
    totals: dict[str, tuple[int, int]] = {}

    def observe(name: str) -> Observer:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            (x,) = inputs
            for theta in thresholds(module, x):
                beyond, values = totals.get(name, (0, 0))
                totals[name] = (beyond + int(((x - theta).abs() > clip).sum()), values + x.numel())

        return hook

    with observed(model, BINARY, observe), torch.no_grad():
        model(images)
    return {name: beyond / values for name, (beyond, values) in totals.items()}
