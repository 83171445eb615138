"""What an attack wants: a number to raise for every image, and whether the image is lost already."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]  # images (B, C, H, W) in [0, 1] -> logits
Kind = TypeVar("Kind", bound="Objective")


class Objective:
    """Base class: bound to one batch of images' ground truth; image i of every call is that batch's image i."""

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """What the attacker raises, (B,), differentiable.

        Args:
            images: (B, C, H, W) in [0, 1], the batch that the objective is bound to, perturbed.
            progress: share of the attack's steps that are done, in [0, 1]: some losses change their weights on the way.
        """
        raise NotImplementedError

    def broken(self, images: Tensor) -> Tensor:
        """Whether the attacker has what it wants, (B,) bool.

        Args:
            images: (B, C, H, W) in [0, 1].
        """
        raise NotImplementedError

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        """What ``__call__`` and ``broken`` give; where one forward pass tells both, a subclass makes one.

        Args:
            images: (B, C, H, W) in [0, 1].
            progress: see ``__call__``.
        """
        return self(images, progress), self.broken(images)

    def select(self, index: Tensor) -> "Objective":
        """The objective of some of the images.

        Args:
            index: (b,) int64, places in the batch.
        """
        raise NotImplementedError


def check_evaluated(model: Model) -> None:
    """Raise ValueError if `model` is a module in train mode."""
    if isinstance(model, nn.Module) and model.training:
        raise ValueError(
            f"Expected `model` in eval mode, but {type(model).__name__} is in train mode: every attacked batch would move "
            "its BatchNorm statistics. Cure: model.eval()."
        )


def of_kind(objective: Objective, kind: type[Kind]) -> Kind:
    """`objective` itself, for attacks that know one kind alone.

    Args:
        objective: that an attack was given.
        kind: that it knows.

    Raises:
        TypeError: it is another kind.
    """
    if not isinstance(objective, kind):
        raise TypeError(
            f"Expected `objective` to be a {kind.__name__}, but got {type(objective).__name__}. Cure: an attack of that task, "
            "or PGD, APGD and noise, which attack any."
        )
    return objective


class ClassificationObjective(Objective):
    """Base class of a classifier's objectives: an image is lost once its label is not the largest logit.

    Args:
        model: images in [0, 1] -> logits (B, K).
        labels: (B,) int64.

    Raises:
        ValueError: the model is in train mode, or `labels` are no integers (B,).
    """

    def __init__(self, model: Model, labels: Tensor) -> None:
        check_evaluated(model)
        if labels.dim() != 1 or labels.is_floating_point():
            raise ValueError(f"Expected `labels` to be (B,) integers, but got {labels.dtype} of {tuple(labels.shape)}.")
        self.model, self.labels = model, labels

    def loss(self, logits: Tensor) -> Tensor:
        """What is raised, (B,), of logits (B, K)."""
        raise NotImplementedError

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """``loss`` of the model's logits."""
        return self.loss(self.model(images).float())

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        """Both of one forward pass."""
        logits = self.model(images).float()
        return self.loss(logits), logits.detach().argmax(1) != self.labels

    def broken(self, images: Tensor) -> Tensor:
        """Whether another label has the largest logit."""
        with torch.no_grad():
            return self.model(images).argmax(1) != self.labels

    def arguments(self, index: Tensor) -> tuple[Any, ...]:
        """What the constructor takes behind the model, for some of the images; a subclass that takes more says so here."""
        return (self.labels[index],)

    def select(self, index: Tensor) -> "ClassificationObjective":
        """The same on some of the images."""
        return type(self)(self.model, *self.arguments(index))

    def with_model(self, model: Model) -> "ClassificationObjective":
        """The same loss and ground truth, another model.

        Args:
            model: images in [0, 1] -> logits (B, K).
        """
        return type(self)(model, *self.arguments(torch.arange(len(self.labels), device=self.labels.device)))


class CrossEntropyObjective(ClassificationObjective):
    """-log softmax(z)_y (Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015)."""

    def loss(self, logits: Tensor) -> Tensor:
        """(B,) of `logits`, (B, K)."""
        return F.cross_entropy(logits, self.labels, reduction="none")


class MarginObjective(ClassificationObjective):
    """max_{k≠y} z_k - z_y (Carlini and Wagner, 2017): positive once the image is lost."""

    def loss(self, logits: Tensor) -> Tensor:
        """(B,) of `logits`, (B, K), K >= 2."""
        own = logits.gather(1, self.labels[:, None])[:, 0]
        others = logits.scatter(1, self.labels[:, None], -torch.inf)
        return others.amax(1) - own
