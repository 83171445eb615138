"""A classifier that learns from another one's probabilities."""

import torch
from torch import Tensor

from bnn_tasks.models import ImageClassifier
from bnn_tasks.robustness.adversarial_training import Learner, TrainingObjective
from bnn_tasks.robustness.trades import divergence
from bnn_tasks.tasks.distillation.frozen import TrainedTeacher


class ClassifierTeacher(TrainedTeacher):
    """Any classifier of this suite, for instance the student's real-valued twin.

    Args:
        path: a checkpoint of ``bnn-tasks fit``; read at the start of a fit.
    """

    kind, noun = ImageClassifier, "a classifier"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K).

        Args:
            images: (B, C, H, W) in [0, 1], on any device.
        """
        logits: Tensor = self.module(images)(images)
        return logits


class DistilledTraining(TrainingObjective):
    """(1 - λ)·L(s, y) + λ·T²·mean KL(softmax(t/T) ‖ softmax(s/T)), t and s the logits of teacher and student.

    Hinton et al., Distilling the Knowledge in a Neural Network, 2015. λ = 1 and T = 1 are ReActNet's distributional loss (Liu
    et al., 2020), less the teacher's entropy, which moves nothing: labels play no part in it. The teacher looks at each batch
    as the student gets it.

    Args:
        teacher: whose probabilities are imitated.
        weight: λ, in (0, 1].
        temperature: T > 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, teacher: ClassifierTeacher, weight: float = 1.0, temperature: float = 1.0) -> None:
        if not 0 < weight <= 1 or not temperature > 0:
            raise ValueError(
                f"Expected `weight` in (0, 1] and `temperature` > 0, but got {weight} and {temperature}. Cure: leave "
                "`training` out for a weight of 0."
            )
        self.teacher, self.weight, self.temperature = teacher, weight, temperature

    def check_classes(self, classes: list[str]) -> None:
        """The teacher's classes must be the student's, in their order."""
        self.teacher.check_classes(classes)

    def __call__(self, learner: Learner, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The classifier's own losses times 1 - λ, without them where λ = 1, and ``imitation``."""
        logits = learner.forward(images)
        imitated = divergence(self.teacher(images) / self.temperature, logits / self.temperature).mean()
        losses = {} if self.weight == 1 else learner.loss(logits, labels)
        return {
            **{name: (1 - self.weight) * loss for name, loss in losses.items()},
            "imitation": self.weight * self.temperature**2 * imitated,
        }
