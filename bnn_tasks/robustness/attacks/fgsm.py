"""One gradient step: FGSM, and FGSM from a random point."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.gradient import ascend
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.norms import check_eps, check_images, get_norm
from bnn_tasks.robustness.objective import Objective


class FGSM(Attack):
    """x + ε·sign(∇L(x)) (Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015, section 4).

    With L2, ∇L/‖∇L‖₂ in place of the sign.

    Args:
        norm: "linf" or "l2".
    """

    name = "FGSM"

    def __init__(self, norm: str = "linf") -> None:
        self.norm = get_norm(norm)

    def start(self, images: Tensor, eps: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """Where the gradient is taken, and how long the step from there is."""
        return images, eps

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`."""
        check_images(images)
        check_eps(eps, self.norm, images)
        ledger = Ledger(objective, images)
        index = ledger.alive
        if not len(index):
            return ledger.result()
        start, length = self.start(images[index], eps, generator)
        losses, broken, gradient = ascend(objective.select(index), start)
        alive = ledger.note(index, start, losses, broken)
        stepped = self.norm.project(start + length * self.norm.direction(gradient), images[index], eps)
        ledger.try_out(index[alive], stepped[alive])
        return ledger.result()


class RFGSM(FGSM):
    """R+FGSM: x' = x + α·sign(N(0, I)), then x' + (ε - α)·sign(∇L(x')) (Tramèr et al., Ensemble Adversarial Training, 2018).

    The random step escapes the flat or jagged spot that an undefended gradient at x itself may sit on.

    Args:
        share: α/ε, in (0, 1); the paper's 1/2.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    name = "R+FGSM"

    def __init__(self, share: float = 0.5, norm: str = "linf") -> None:
        super().__init__(norm)
        if not 0 < share < 1:
            raise ValueError(f"Expected `share` to be in (0, 1), but got {share}.")
        self.share = share

    def start(self, images: Tensor, eps: float, generator: torch.Generator) -> tuple[Tensor, float]:
        """α along a random direction."""
        noise = torch.randn(images.shape, generator=generator).to(images)
        step = self.share * eps
        return self.norm.project(images + step * self.norm.direction(noise), images, step), eps - step
