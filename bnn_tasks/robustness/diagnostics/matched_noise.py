"""Random noise of an attack's own size: the control beside every measurement of an attack."""

import torch
from torch import Tensor


def matched_noise(images: Tensor, adversarial: Tensor, generator: torch.Generator) -> Tensor:
    """x ± abs(δ) with a random sign for every value, δ = adversarial - images; (B, C, H, W) in [0, 1].

    Every value moves as far as the attack moved it, so that the two perturbations agree in every norm. Where the random sign
    would leave [0, 1], the attack's own is kept, which does not.

    Args:
        images: (B, C, H, W) in [0, 1].
        adversarial: the same, perturbed.
        generator: on the CPU.
    """
    delta = adversarial - images
    signs = torch.randint(2, images.shape, generator=generator).to(images) * 2 - 1
    flipped = images + signs * delta
    return torch.where((flipped >= 0) & (flipped <= 1), flipped, adversarial)
