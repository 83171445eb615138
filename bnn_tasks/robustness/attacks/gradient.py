"""The gradient of an objective with respect to the images."""

import torch
from torch import Tensor

from bnn_tasks.robustness.objective import Objective


def ascend(objective: Objective, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """(losses, broken, gradient) at `images` of one forward and one backward pass; no parameter gets a gradient.

    Freeze the model's parameters nevertheless, as ``frozen`` does: binary layers would compute gradients of their weights that
    nobody reads, half of a pass's time again.

    Args:
        objective: bound to these images.
        images: (B, C, H, W) in [0, 1].
        progress: see `Objective`.

    Raises:
        ValueError: no gradient reaches the images, the gradient is NaN, or torch is in inference mode.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "Expected a mode in which gradients exist, but torch.inference_mode is on. Cure: Trainer(inference_mode=False)."
        )
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        losses, broken = objective.judged(x, progress)
        if not losses.requires_grad:
            raise ValueError(
                "Expected an objective that is differentiable in the images, but no gradient reaches them. Cure: an attack "
                "without gradients, or a model that neither detaches its input nor runs under torch.no_grad."
            )
        (gradient,) = torch.autograd.grad(losses.sum(), x, allow_unused=True, materialize_grads=True)
    bad = gradient.flatten(1).isnan().any(1)
    if bool(bad.any()):
        raise ValueError(
            f"Expected gradients without NaN, but image {int(bad.nonzero()[0, 0])} of the batch has some. Cure: look for a "
            "division by zero or an overflow in the model."
        )
    return losses.detach(), broken, gradient
