"""A victim with the images that it is tried on: what every part of a study reads."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnn_tasks.binary import BinaryConv2d, BinaryLinear
from bnn_tasks.robustness.attacks import Attack, Attacked, MembersAttacked
from bnn_tasks.robustness.norms import check_images
from bnn_tasks.robustness.objective import CrossEntropyObjective, Objective
from bnn_tasks.tasks.robustness.chunks import Chunks
from bnn_tasks.tasks.robustness.findings import Accuracy, accuracy
from bnn_tasks.tasks.robustness.kept_results import KeptResults
from bnn_tasks.tasks.robustness.victims import Victim

_log = logging.getLogger(__name__)

PROBED = 64  # images of the diagnostics that take several passes


class Subject:
    """Attacks run on the images that are right without one; shares are of all images.

    Args:
        victim: that is attacked.
        images: (n, C, H, W) in [0, 1].
        labels: (n,) int64.
        chunks: images at a time.
        seed: of everything random.
        kept: what attacks found in a test that was cut short; None keeps nothing.

    Attributes:
        labels: (n,) int64.
        logits: (n, K) without an attack.
        right: (n,) bool, without an attack.
        x: (m, C, H, W), the images that are right.
        y: (m,) their labels.
        binary: whether the net has layers whose signs stand between images and gradients.

    Raises:
        ValueError: images outside [0, 1], or none is right without an attack.
    """

    def __init__(
        self,
        victim: Victim,
        images: Tensor,
        labels: Tensor,
        chunks: Chunks,
        seed: int,
        kept: KeptResults | None = None,
    ) -> None:
        check_images(images)
        self._kept = KeptResults(None) if kept is None else kept
        self.victim, self.images, self.labels, self.chunks, self.seed = victim, images, labels, chunks, seed
        self.logits = chunks.outputs(victim, images).float()
        self.right = self.logits.argmax(1) == labels
        if not bool(self.right.any()):
            raise ValueError(
                f"Expected {victim.path!r} to be right on some image, but it is on none of {len(images)}. Cure: the data and "
                "the classes that it was trained with."
            )
        self.x, self.y = images[self.right], labels[self.right]
        self.objective = CrossEntropyObjective(victim, self.y)
        layers = [] if victim.module is None else list(victim.module.modules())
        self.binary = any(isinstance(layer, BinaryConv2d | BinaryLinear) for layer in layers)

    @property
    def probed(self) -> Tensor:
        """(b,) int64, the first places in ``x``: what diagnostics of several passes look at, no more than fit at once."""
        return torch.arange(min(PROBED, self.chunks.size, len(self.x)))

    @property
    def classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    def attack(self, attack: Attack, eps: float) -> Attacked:
        """Attack all of ``x``.

        Args:
            attack: any.
            eps: radius.
        """
        return self._attacked(attack, self.objective, self.x, eps)

    def attack_some(self, attack: Attack, eps: float, index: Tensor) -> Attacked:
        """Attack some of ``x``.

        Args:
            attack: any.
            eps: radius.
            index: (b,) int64, places in ``x``, b >= 1.
        """
        return self._attacked(attack, self.objective.select(index), self.x[index], eps)

    def _attacked(self, attack: Attack, objective: Objective, images: Tensor, eps: float) -> Attacked:
        """Kept, since a study takes its time; the log says how far it is."""
        name = f"{attack.name} at ε = {255 * eps:g}/255"

        def make() -> dict[str, Any]:
            found = self.chunks.attack(attack, objective, images, eps, self.seed)
            return {"found": vars(found), "chunk": self.chunks.size}

        result = self._kept.get(name, make)
        self.chunks.size = result["chunk"]  # where memory ran out: what later attacks draw depends on it
        kind = MembersAttacked if "members" in result["found"] else Attacked
        found = kind(**result["found"])
        _log.info("%s: %d of %d lost", name, int(found.broken.sum()), len(found.broken))
        return found

    def accuracy(self, broken: Tensor) -> Accuracy:
        """What is left of all images.

        Args:
            broken: (m,) bool, of ``x``.
        """
        kept = self.right.clone()
        kept[self.right] = ~broken
        return accuracy(kept)

    def share(self, broken: Tensor) -> float:
        """Share of all images that `broken`, (m,) bool of ``x``, names."""
        return float(broken.sum()) / len(self.images)

    def share_right(self, model: Callable[[Tensor], Tensor], images: Tensor) -> float:
        """Share of images that a net gets right.

        Args:
            model: images -> logits.
            images: (n, C, H, W), some form of the study's.
        """
        found = self.chunks.outputs(model, images).argmax(1)
        return float((found == self.labels).float().mean())
