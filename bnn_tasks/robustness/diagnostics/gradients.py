"""The gradient that an attack follows: whether there is one, and whether it means anything a little further on."""

import torch
from torch import Tensor

from bnn_tasks.robustness.objective import Objective


def input_gradient(objective: Objective, images: Tensor) -> Tensor:
    """dL/dx of every image, (B, C, H, W); zero where the objective does not depend on the image.

    Args:
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1].
    """
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        losses = objective(x)
        if not losses.requires_grad:
            return torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(losses.sum(), x, allow_unused=True, materialize_grads=True)
    return gradient


def zero_gradient_share(objective: Objective, images: Tensor) -> float:
    """Share of images whose gradient is zero in every value, in [0, 1]: no gradient attack can move those.

    AutoAttack (Croce and Hein, 2020) warns from the first such image on.

    Args:
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1], B >= 1.
    """
    gradient = input_gradient(objective, images)
    return float((gradient.flatten(1) == 0).all(1).float().mean())


def gradient_cosine(objective: Objective, images: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """cos(∇L(x), ∇L(x + u)) of every image, (B,), u uniform over [-radius, radius], x + u cut to [0, 1]; 0 without gradient.

    Near 1 the loss is smooth at that scale, near 0 the gradient says nothing about the way on.

    Args:
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1].
        radius: > 0, best the step of the attack.
        generator: on the CPU.

    Raises:
        ValueError: `radius` is out of range.
    """
    if not radius > 0:
        raise ValueError(f"Expected `radius` to be > 0, but got {radius}.")
    noise = (torch.rand(images.shape, generator=generator) * 2 - 1).to(images) * radius
    here = input_gradient(objective, images).flatten(1).double()
    there = input_gradient(objective, (images + noise).clamp(0, 1)).flatten(1).double()
    lengths = torch.linalg.vector_norm(here, dim=1) * torch.linalg.vector_norm(there, dim=1)
    return ((here * there).sum(1) / lengths.clamp_min(torch.finfo(torch.float64).tiny)).float()
