"""TRADES: accuracy on clean images, and the same answer near them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn_tasks.robustness.adversarial_training import Learner, TrainingObjective, checked_radius, inner_maximum
from bnn_tasks.robustness.attacks.base import Attack, require_objective, require_values
from bnn_tasks.robustness.frozen import frozen
from bnn_tasks.robustness.objective import Model, Objective


def divergence(clean: Tensor, perturbed: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ_k p_k·(log p_k - log q_k) of every image, (B,), in float32.

    Args:
        clean: logits of p, (B, K).
        perturbed: logits of q, (B, K).
    """
    p, q = F.log_softmax(clean.float(), dim=1), F.log_softmax(perturbed.float(), dim=1)
    return F.kl_div(q, p, reduction="none", log_target=True).sum(1)


class DivergenceObjective(Objective):
    """KL(f(x) ‖ f(x')), raised to the end; no image counts as lost.

    Args:
        model: images in [0, 1] -> logits (B, K).
        clean: logits f(x), (B, K); no gradient flows to them.
    """

    def __init__(self, model: Model, clean: Tensor) -> None:
        self.model, self.clean = model, clean.detach()

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """(B,), >= 0."""
        return divergence(self.clean, self.model(images))

    def broken(self, images: Tensor) -> Tensor:
        """False for every image."""
        return torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def select(self, index: Tensor) -> "DivergenceObjective":
        """The same on some of the images."""
        return DivergenceObjective(self.model, self.clean[index])


class TRADES(TrainingObjective):
    """L(f(x), y) + β·mean KL(f(x) ‖ f(x')), x' = argmax KL(f(x) ‖ f(x')) in the ball of radius ε (Zhang et al., TRADES, 2019).

    β is the paper's 1/λ. Gradients run through both sides of the divergence, as in the released code. While the attack runs,
    the net is in evaluation mode and nothing of it moves (see `PGDTraining`, also for bfloat16). Two passes in training mode
    follow, clean and perturbed images apart: each is normalised by its own batch, and both move the running statistics.

    Args:
        attack: the inner maximiser, with a random start: at the image itself the divergence has no gradient but rounding.
        eps: ε, finite and > 0, in units of images in [0, 1]; the paper's 0.031 on CIFAR-10.
        beta: β > 0; the paper's are 1 and 6.

    Raises:
        TypeError: `attack` is not one of any objective.
        ValueError: an argument is out of range, or `attack` asks for labels alone.
    """

    def __init__(self, attack: Attack, eps: float, beta: float = 6.0) -> None:
        if not 0 < beta < math.inf:
            raise ValueError(f"Expected `beta` to be finite and > 0, but got {beta}. Cure: PGDTraining or none for 0.")
        require_objective(attack, DivergenceObjective)
        require_values(attack)
        self.attack, self.eps, self.beta = attack, checked_radius(eps), beta

    def __call__(self, learner: Learner, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The classifier's own losses of the clean images, and ``divergence``."""
        with frozen(learner.module):
            with torch.no_grad():
                clean = learner.module(images)
            worst = inner_maximum(self.attack, DivergenceObjective(learner.module, clean), images, self.eps)
        logits = learner.forward(images)
        apart = divergence(logits, learner.forward(worst)).mean()
        return {**learner.loss(logits, labels), "divergence": self.beta * apart}
