"""What an attack knows about every image so far: the best candidate, whether it is lost, what that cost."""

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attacked
from bnn_tasks.robustness.objective import Objective


class Ledger:
    """Book of one batch. The originals are its first entry: they lie in every ball, and a lost one needs no attack.

    Args:
        objective: bound to the batch.
        images: (B, C, H, W) in [0, 1].

    Attributes:
        images: best candidates; of a lost image the one that lost it, which later candidates cannot displace.
        losses: (B,) of ``images``.
        broken: (B,) bool.
        queries: (B,) int64, forward passes spent.
        trace: filled by the attack, see `Attacked`.
    """

    def __init__(self, objective: Objective, images: Tensor) -> None:
        self.objective = objective
        self.images = images.detach().clone()
        with torch.no_grad():
            self.losses, self.broken = objective.judged(self.images)
        self.queries = torch.ones(len(images), dtype=torch.int64, device=images.device)
        self.trace: list[float] = []

    @property
    def alive(self) -> Tensor:
        """(b,) int64, the images that are not lost."""
        return (~self.broken).nonzero()[:, 0]

    def note(self, index: Tensor, candidates: Tensor, losses: Tensor, broken: Tensor, queries: int = 1) -> Tensor:
        """Enter candidates of some images that are alive; gives which of them still are, (b,) bool.

        A loss is confirmed in a pass of its own without gradients: with gradients a binary layer multiplies its scales in
        another order, and the last bit of a sum can decide a sign.

        Args:
            index: (b,) int64, places in the batch, no two alike.
            candidates: (b, C, H, W).
            losses: (b,) the objective at the candidates.
            broken: (b,) bool, whether they seem lost.
            queries: forward passes that the candidates cost.
        """
        self.queries[index] += queries
        broken = broken.clone()
        hits = broken.nonzero()[:, 0]
        if len(hits):
            self.queries[index[hits]] += 1
            broken[hits] = self.objective.select(index[hits]).broken(candidates[hits])
        self._enter(index, candidates, losses, broken)
        return ~broken

    def _enter(self, index: Tensor, candidates: Tensor, losses: Tensor, broken: Tensor) -> None:
        better = broken | (losses > self.losses[index])
        places = index[better]
        self.images[places] = candidates[better].detach()
        self.losses[places] = losses[better].detach().to(self.losses.dtype)
        self.broken[index[broken]] = True

    def merge(self, index: Tensor, found: Attacked) -> None:
        """Enter what another attack found on images that are alive.

        Args:
            index: (b,) int64, places in the batch, no two alike.
            found: of b images, its losses those of this book's objective.
        """
        self.queries[index] += found.queries
        self._enter(index, found.images, found.losses, found.broken)

    def try_out(self, index: Tensor, candidates: Tensor, progress: float = 1.0) -> Tensor:
        """Evaluate candidates without gradients and enter them; gives which are still alive, (b,) bool.

        Args:
            index: (b,) int64, places in the batch.
            candidates: (b, C, H, W).
            progress: see `Objective`.
        """
        if not len(index):
            return torch.zeros(0, dtype=torch.bool, device=index.device)
        with torch.no_grad():
            losses, broken = self.objective.select(index).judged(candidates, progress)
        return self.note(index, candidates, losses, broken)

    def merge_alive(self, found: Attacked) -> None:
        """Enter what another attack found on all images of the batch, for those that are alive.

        Args:
            found: its losses are those of this book's objective.
        """
        self.queries += found.queries
        index = self.alive
        self._enter(index, found.images[index], found.losses[index], found.broken[index])

    def result(self) -> Attacked:
        """What was found."""
        return Attacked(self.images, self.broken, self.losses, self.queries, self.trace)
