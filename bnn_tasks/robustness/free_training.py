"""Adversarial training at the price of plain training: one backward pass serves the net and the perturbation."""

import torch
from torch import Tensor

from bnn_tasks.robustness.adversarial_training import Learner, TrainingObjective, checked_radius


class FreeTraining(TrainingObjective):
    """Each batch is trained on m times, and each backward pass moves the perturbation too (Shafahi et al., 2019, Algorithm 1).

    δ ← clip(δ + ε·sign(∇_δ L(θ, clip(x + δ, 0, 1), y)), -ε, ε), from the gradients of the very pass that θ is stepped with,
    before that step. δ is L∞, starts at 0, stays from batch to batch (the first n of it for a batch of n), and starts at 0
    again where a fit is resumed and where a batch is larger than any before. (Adversarial Training for Free!, 2019.)

    There is no inner attack: every pass is in training mode, moves BatchNorm's running statistics, and sees images in [0, 1].
    m steps are made on each batch, while learning rate and progress count batches: for the cost of plain training, divide the
    epochs by m, as the paper does. Gradients cannot be accumulated over batches.

    Args:
        eps: ε in (0, 1], in units of images in [0, 1].
        replays: m >= 1; the paper's best on CIFAR-10 is 8.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, eps: float, replays: int = 8) -> None:
        if replays < 1:
            raise ValueError(f"Expected `replays` to be >= 1, but got {replays}.")
        if checked_radius(eps) > 1:
            raise ValueError(f"Expected `eps` to be in (0, 1], but got {eps}. Cure: write 8/255 as 0.0313725.")
        self.eps, self.replays = eps, replays
        self.start()

    def start(self) -> None:
        """δ ← 0."""
        self._delta = torch.zeros(0)

    def __call__(self, learner: Learner, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The classifier's own loss of the perturbed images; its backward pass moves δ."""
        count = len(images)
        if self._delta.shape[1:] != images.shape[1:] or len(self._delta) < count:
            self._delta = torch.zeros_like(images, dtype=torch.float32)
        before = self._delta.to(images.device)
        delta = before[:count].clone().requires_grad_()

        def ascend(gradient: Tensor) -> None:
            moved = (delta.detach() + self.eps * gradient.sign()).clamp_(-self.eps, self.eps)
            self._delta = torch.cat([moved, before[count:]])

        delta.register_hook(ascend)
        return learner.loss(learner.forward((images + delta).clamp(0, 1)), labels)
