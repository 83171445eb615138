"""What a classifier is trained on: clean images, or the worst ones near them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn_tasks.robustness.attacks.base import Attack, require_objective, require_values
from bnn_tasks.robustness.attacks.unbroken import Unbroken
from bnn_tasks.robustness.frozen import frozen
from bnn_tasks.robustness.objective import CrossEntropyObjective, Objective


@dataclass(frozen=True)
class Learner:
    """A classifier in training, as a training objective sees it.

    Attributes:
        module: the net in training mode; what is attacked.
        forward: images (B, C, H, W) in [0, 1] -> logits (B, K), as training runs the net: compiled, perhaps.
        loss: (logits, labels) -> losses by name, scalars.
    """

    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], dict[str, Tensor]]


class TrainingObjective:
    """Base class: a batch in, the losses of one optimiser step out.

    Attributes:
        replays: optimiser steps that are made on each batch, >= 1, each with a call of its own.
    """

    replays: int = 1

    def check_classes(self, classes: list[str]) -> None:
        """Raise ValueError where the classes are not those that the objective needs; called before a fit.

        Args:
            classes: in label order.
        """

    def start(self) -> None:
        """Forget what another fit left; called before the first batch."""

    def __call__(self, learner: Learner, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses by name, scalars, weights included; their sum is minimised.

        Args:
            learner: what is trained.
            images: (B, C, H, W) in [0, 1].
            labels: (B,) int64.
        """
        raise NotImplementedError


class CleanTraining(TrainingObjective):
    """The classifier's own loss of the images as they are."""

    def __call__(self, learner: Learner, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """See the class."""
        return learner.loss(learner.forward(images), labels)


class PGDTraining(TrainingObjective):
    """min_θ E max_{‖δ‖ <= ε} L(θ, x + δ, y) (Madry et al., Towards Deep Learning Models Resistant, 2018).

    The attack raises the cross entropy and runs to the end on every image, none of which counts as lost; the point of highest
    loss that it met is trained on, which is the clean image where no other has a higher one. While it runs, the net is in
    evaluation mode (our choice): BatchNorms use their running statistics, so that an image's perturbation does not depend on
    its neighbours, and are not touched; dropout is off. The pass that is trained on is in training mode, and its adversarial
    images alone move the statistics.

    The attack's precision is training's. In bfloat16 a normalised image value of 1 has steps of 1/128, some 0.5/255 of an
    image's range: below about ε = 2/255 train in float32.

    Args:
        attack: the inner maximiser, for instance ``PGD(steps=7, step_size=0.25)``, the paper's steps on CIFAR-10; none that
            raises a loss of its own.
        eps: ε, finite and > 0, in units of images in [0, 1]: 8/255 is 0.0313725.

    Raises:
        TypeError: `attack` is not one of any objective.
        ValueError: `eps` is out of range, or `attack` asks for labels alone.
    """

    def __init__(self, attack: Attack, eps: float) -> None:
        require_objective(attack, Unbroken)
        require_values(attack)
        self.attack, self.eps = attack, checked_radius(eps)

    def __call__(self, learner: Learner, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The classifier's own loss of the perturbed images."""
        with frozen(learner.module):
            worst = inner_maximum(
                self.attack, Unbroken(CrossEntropyObjective(learner.module, labels)), images, self.eps
            )
        return learner.loss(learner.forward(worst), labels)


def checked_radius(eps: float) -> float:
    """`eps`, if it is finite and > 0.

    Raises:
        ValueError: it is not.
    """
    if not 0 < eps < math.inf:
        raise ValueError(
            f"Expected `eps` to be finite and > 0, but got {eps}. Cure: write 8/255 as 0.0313725; without `training` for 0."
        )
    return eps


def inner_maximum(attack: Attack, objective: Objective, images: Tensor, eps: float) -> Tensor:
    """What the attack made of the images, without a graph; its random numbers follow from torch's global seed.

    Args:
        attack: what raises.
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1].
        eps: radius, > 0.
    """
    seed = int(torch.randint(2**62, ()))
    attacked = attack(objective, images.detach(), eps, torch.Generator().manual_seed(seed))
    return attacked.images.detach()
