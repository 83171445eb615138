"""Attacks on segmenters, which keep of every image the iterate with the fewest right pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked, common_norm, require_objective, require_values
from bnn_tasks.robustness.attacks.reduced_radius import ReducedRadiusAPGD
from bnn_tasks.robustness.attacks.wrapped import WrappedAttack
from bnn_tasks.robustness.objective import Objective, of_kind
from bnn_tasks.robustness.segmentation_losses import (
    JensenShannon,
    MaskedCrossEntropy,
    MaskedSpherical,
    PixelLoss,
    SegPGDLoss,
)
from bnn_tasks.tasks.robustness.segmentation_objectives import SegmentationObjective


class FewestRight:
    """Of every image of a batch the iterate seen with the fewest right pixels, of equal ones the one with the largest loss.

    Args:
        images: (B, C, H, W), the originals.

    Attributes:
        images: (B, C, H, W), the iterates.
        right: (B,) int64, pixels that are right in them; the originals count as never seen.
        losses: (B,) of them.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.detach().clone()
        self.right = images.new_full((len(images),), torch.iinfo(torch.int64).max, dtype=torch.int64)
        self.losses = images.new_full((len(images),), -torch.inf)

    def update(self, index: Tensor, images: Tensor, right: Tensor, losses: Tensor) -> None:
        """Look at some images' iterates.

        Args:
            index: (b,) int64, places in the batch, each once.
            images: (b, C, H, W).
            right: (b,) int64.
            losses: (b,) cross-entropies.
        """
        better = (right < self.right[index]) | ((right == self.right[index]) & (losses > self.losses[index]))
        places = index[better]
        self.images[places], self.right[places] = images.detach()[better], right[better]
        self.losses[places] = losses.detach()[better].to(self.losses)


class _Watched(Objective):
    """A segmenter's objective that records what it judges; a call alone, which looks ahead, is not recorded."""

    def __init__(self, objective: SegmentationObjective, seen: FewestRight, index: Tensor) -> None:
        self.objective, self.seen, self.index = objective, seen, index

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        logits = self.objective.logits(images)
        losses, right = self.objective.value(logits, progress), self.objective.right(logits)
        self.seen.update(self.index, images, right, losses)
        return losses, right == 0

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        return self.objective(images, progress)

    def broken(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.judged(images)[1]

    def select(self, index: Tensor) -> "_Watched":
        return _Watched(self.objective.select(index), self.seen, self.index[index])


class PixelAttack(WrappedAttack):
    """An attack on a segmenter that raises a loss of its own, whatever the objective's.

    PGD with `PixelCrossEntropy` is PGD on the training loss, with `SegPGDLoss` SegPGD, with `CosPGDLoss` CosPGD. The loss
    leads the way, right pixels decide: of an image not lost, ``images`` has the iterate with the fewest of them, since the
    largest loss may be that of a few pixels. A sweep of surrogate gradients goes inside, as `attack`: then that iterate is of
    all members.

    Args:
        attack: how the loss is raised.
        loss: of a pixel.

    Attributes:
        name: the loss's and the attack's.

    Raises:
        TypeError: `attack` is not one of any objective.
        ValueError: it asks for labels alone, outside the ball too, where no iterate counts.
    """

    objective = SegmentationObjective

    def __init__(self, attack: Attack, loss: PixelLoss) -> None:
        super().__init__(attack, f"{loss.name} {attack.name}", _Watched)
        require_values(attack)
        self.loss = loss

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. ``losses`` are mean cross-entropies.

        Raises:
            TypeError: the objective is no segmenter's.
        """
        raised = of_kind(objective, SegmentationObjective).raising(self.loss)
        seen = FewestRight(images)
        everything = torch.arange(len(images), device=images.device)
        found = self.attack(_Watched(raised, seen, everything), images, eps, generator)
        with torch.no_grad():
            losses, broken = raised.judged(seen.images)
        return Attacked(seen.images, broken, losses, found.queries + 1, found.trace)


class WorstImages(Attack):
    """The worst of several attacks, image by image: the fewest right pixels, of equal ones the largest loss.

    A later attack fights only for the images that none before has lost.

    Args:
        attacks: at least one, of one norm.
        name: in reports.

    Raises:
        ValueError: there are no attacks, or norms differ.
        TypeError: an attack is of another task.
    """

    objective = SegmentationObjective

    def __init__(self, attacks: Sequence[Attack], name: str = "worst") -> None:
        if not attacks:
            raise ValueError("Expected at least one attack, but got none.")
        for attack in attacks:
            require_objective(attack, SegmentationObjective)
        self.attacks, self.name = list(attacks), name
        self.norm = common_norm(attacks)
        self.needs_gradient = any(attack.needs_gradient for attack in attacks)

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; see `Attack`. ``losses`` are mean cross-entropies; there is no trace.

        Raises:
            TypeError: the objective is no segmenter's.
        """
        judge = of_kind(objective, SegmentationObjective)
        seen = FewestRight(images)
        queries = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        for attack in self.attacks:
            alive = torch.nonzero(seen.right > 0).flatten()
            if not len(alive):
                break
            fought = judge.select(alive)
            found = attack(fought, images[alive], eps, generator)
            with torch.no_grad():
                logits = fought.logits(found.images)
                seen.update(alive, found.images, fought.right(logits), fought.value(logits))
            queries[alive] += found.queries + 1
        with torch.no_grad():
            losses, broken = judge.judged(seen.images)
        return Attacked(seen.images, broken, losses, queries + 1)


def sea(steps: int = 300, norm: str = "linf") -> WorstImages:
    """SEA, the Segmentation Ensemble Attack: the worst of four losses image by image, each by `ReducedRadiusAPGD`.

    Masked cross-entropy, SegPGD's loss, Jensen-Shannon divergence and masked spherical loss (Croce et al., Towards Reliable
    Evaluation and Fast Training of Robust Semantic Segmentation Models, 2023, its first version).

    Args:
        steps: of one loss, >= 10; the paper's 300.
        norm: "linf" or "l2".
    """
    losses = (MaskedCrossEntropy(), SegPGDLoss(), JensenShannon(), MaskedSpherical())
    return WorstImages([PixelAttack(ReducedRadiusAPGD(steps, norm), loss) for loss in losses], f"SEA-{steps}")
