"""What a net's logits say about the attacks on it: saturated, or different every time."""

import torch
from torch import Tensor

from bnn_tasks.robustness.objective import Model

# In float32, 1 + 2⁻²⁴ is 1, and so is the softmax: cross entropy is 0, and its gradient next to nothing.
FLOAT32_ONE = 2.0**-24


def saturated_share(logits: Tensor, below: float = FLOAT32_ONE) -> float:
    """Share of images with 1 - max_k softmax(z)_k <= below, in [0, 1].

    Args:
        logits: z, (B, K), B >= 1.
        below: in (0, 1). Gupta and Ajanthan, Improved Gradient Based Adversarial Attacks for Quantized Networks, 2020, rescale
            logits below 0.01.

    Raises:
        ValueError: `below` is out of range.
    """
    if not 0 < below < 1:
        raise ValueError(f"Expected `below` to be in (0, 1), but got {below}.")
    probabilities = torch.softmax(logits.detach().double(), dim=1)
    # 1 - p as the sum of the others: exact where p rounds to 1.
    others = probabilities.scatter(1, probabilities.argmax(1, keepdim=True), 0).sum(1)
    return float((others <= below).double().mean())


def output_spread(model: Model, images: Tensor, repeats: int = 5) -> float:
    """Largest Euclidean distance between an image's normalised logits z/‖z‖ of any two passes; 0 for a net without chance.

    AutoAttack's test of randomised nets (Croce and Hein, 2020), which speaks up above 1e-4.

    Args:
        model: images in [0, 1] -> logits (B, K).
        images: (B, C, H, W) in [0, 1], B >= 1.
        repeats: passes, >= 2.

    Raises:
        ValueError: `repeats` is out of range.
    """
    if repeats < 2:
        raise ValueError(f"Expected `repeats` to be >= 2, but got {repeats}.")
    with torch.no_grad():
        passes = [model(images).double() for _ in range(repeats)]
    units = torch.stack([z / torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(1e-10) for z in passes])
    apart = torch.linalg.vector_norm(units[:, None] - units[None], dim=3)
    return float(apart.max())
