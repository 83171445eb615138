"""Iterative FGSM with momentum."""

from torch import Tensor

from bnn_tasks.robustness.attacks.pgd import PGD
from bnn_tasks.robustness.norms import per_image


class MIFGSM(PGD):
    """g ← μ·g + ∇L/‖∇L‖₁, x ← Π(x + α·sign(g)), α = ε/T, from the image itself (Dong et al., 2018, algorithm 1).

    Dong et al., Boosting Adversarial Attacks with Momentum. The momentum carries over narrow maxima, so that its images
    transfer better. With L2, g/‖g‖₂ in place of the sign.

    Args:
        steps: T >= 1; the paper's 10.
        decay: μ >= 0; the paper's 1.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, steps: int = 10, decay: float = 1.0, norm: str = "linf") -> None:
        super().__init__(steps, 1 / max(steps, 1), norm=norm, random_start=False)
        if not decay >= 0:
            raise ValueError(f"Expected `decay` to be >= 0, but got {decay}.")
        self.decay = decay
        self.name = f"MI-FGSM-{steps}"

    def accumulate(self, gradient: Tensor, before: Tensor | None) -> Tensor:
        """μ·g + ∇L/‖∇L‖₁; a gradient of 0 adds nothing."""
        size = per_image(gradient.flatten(1).abs().sum(1), gradient)
        unit = (gradient / size).nan_to_num(0, 0, 0)
        return unit if before is None else self.decay * before + unit
