"""What an attack on a detector raises: one image's goal, computed from one forward pass of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn_tasks.models import BoxTarget, Detector, RawOutputs
from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack, revalued
from bnn_tasks.robustness.objective import Objective, of_kind
from bnn_tasks.tasks.detection_losses import seeded
from bnn_tasks.tasks.robustness.canvas import Canvas, CanvasObjective

REDRAWS = 1 << 20  # different draws of a detector's loss in one attack


class DetectionGoal:
    """Base class: what an attacker of a detector raises in one image.

    Attributes:
        name: in reports.
    """

    name: str

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """The goal, a differentiable scalar.

        Args:
            detector: in eval mode.
            outputs: what its ``forward`` returned, of this image alone: a batch of one.
            target: the image's objects.
        """
        raise NotImplementedError


class DetectionObjective(CanvasObjective):
    """One goal an image, and no image is ever lost: AP is a property of a set, so every image is fought to the end.

    Images do not touch each other: a goal sees one image's outputs, though a batch shares the forward pass. Where a
    detector's loss draws anchors or regions at random, the draw depends on `seed` and the attack's progress alone: anew every
    step, the same for every image and in every run, and the global generator is left as it was. So with a Faster R-CNN the
    best iterate of an attack is best up to the spread of the draws.

    Args:
        detector: in eval mode.
        targets: objects in canvas pixels, one an image: `DetectionBatch.targets`, or `detected_objects`.
        canvas: of the batch.
        goal: what is raised.
        seed: of draws, >= 0.

    Raises:
        ValueError: not as many targets as images.
    """

    def __init__(
        self, detector: Detector, targets: Sequence[BoxTarget], canvas: Canvas, goal: DetectionGoal, seed: int = 0
    ) -> None:
        super().__init__(canvas)
        if len(targets) != len(canvas.images):
            raise ValueError(f"Expected a target an image, but got {len(targets)} for {len(canvas.images)} images.")
        self.detector, self.targets, self.goal, self.seed = detector, list(targets), goal, seed

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """The goals, (B,)."""
        outputs: RawOutputs = self.detector(self.canvas.paste(images))
        goals = []
        for i, target in enumerate(self.targets):
            own = {name: [level[i : i + 1] for level in levels] for name, levels in outputs.items()}
            with seeded(self.seed + round(progress * REDRAWS), images.device):
                goals.append(self.goal(self.detector, own, target))
        return torch.stack(goals)

    def broken(self, images: Tensor) -> Tensor:
        """Never."""
        return torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def select(self, index: Tensor) -> "DetectionObjective":
        """The same on some of the images."""
        targets = [self.targets[i] for i in index.tolist()]
        return DetectionObjective(self.detector, targets, self.canvas.select(index), self.goal, self.seed)

    def aimed_at(self, targets: Sequence[BoxTarget]) -> "DetectionObjective":
        """The same with other objects.

        Args:
            targets: one an image.
        """
        return DetectionObjective(self.detector, targets, self.canvas, self.goal, self.seed)

    def raising(self, goal: DetectionGoal) -> "DetectionObjective":
        """The same with another goal.

        Args:
            goal: what is raised.
        """
        return DetectionObjective(self.detector, self.targets, self.canvas, goal, self.seed)


class GoalAttack(WrappedAttack):
    """An attack on a detector that raises a goal of its own, whatever the objective's; the trace is that goal's.

    Args:
        attack: how it is raised.
        goal: what is raised.

    Attributes:
        name: the goal's and the attack's.

    Raises:
        TypeError: `attack` is of another task.
    """

    objective = DetectionObjective

    def __init__(self, attack: Attack, goal: DetectionGoal) -> None:
        super().__init__(attack, f"{goal.name} {attack.name}", DetectionObjective)
        self.goal = goal

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. ``losses`` are the given objective's, so that attacks compare.

        Raises:
            TypeError: the objective is no detector's.
        """
        given = of_kind(objective, DetectionObjective)
        return revalued(self.attack(given.raising(self.goal), images, eps, generator), given)


@dataclass
class Objects:
    """A `BoxTarget` that no data set gave.

    Attributes:
        boxes: (G, 4) float32 xyxy, canvas pixels.
        labels: (G,) int64.
        ignore: (G,) bool.
        crowd: (G,) bool.
    """

    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor


@torch.no_grad()
def detected_objects(detector: Detector, images: Tensor, score_threshold: float = 0.5) -> list[Objects]:
    """What a detector finds in clean images, as targets: TOG attacks need no ground truth (Chow et al., 2020).

    Args:
        detector: in eval mode.
        images: (B, C, H, W) in [0, 1].
        score_threshold: detections below are none, in [0, 1]; TOG's code has 0.5 for SSD, 0.7 for Faster R-CNN.
    """
    found = detector.decode(detector(images), (images.shape[2], images.shape[3]))
    kept = [boxes.scores >= score_threshold for boxes in found]
    objects = []
    for boxes, keep in zip(found, kept):
        no = torch.zeros_like(boxes.labels[keep], dtype=torch.bool)
        objects.append(Objects(boxes.boxes[keep], boxes.labels[keep], no, no))
    return objects


class OnDetected(WrappedAttack):
    """An attack on a detector that knows no truth: it takes for it what the detector finds in the clean images.

    ``OnDetected(GoalAttack(PGD(), Combined()))`` is TOG's untargeted attack.

    Args:
        attack: that is run.
        score_threshold: see `detected_objects`.

    Attributes:
        name: the attack's, and that it is on detections.

    Raises:
        TypeError: `attack` is of another task.
        ValueError: `score_threshold` is out of range.
    """

    objective = DetectionObjective

    def __init__(self, attack: Attack, score_threshold: float = 0.5) -> None:
        super().__init__(attack, f"{attack.name} on detected", DetectionObjective)
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"Expected `score_threshold` to be in [0, 1], but got {score_threshold}.")
        self.score_threshold = score_threshold

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. ``losses`` are the given objective's, so that attacks compare.

        Raises:
            TypeError: the objective is no detector's.
        """
        given = of_kind(objective, DetectionObjective)
        found = detected_objects(given.detector, given.canvas.paste(images), self.score_threshold)
        return revalued(self.attack(given.aimed_at(found), images, eps, generator), given)
