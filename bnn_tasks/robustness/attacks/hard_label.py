"""What an attack on labels alone stands on: a counted question, and the ways through the two balls."""

import torch
from torch import Tensor

from bnn_tasks.robustness.norms import L2, Linf, Norm, get_norm, per_image
from bnn_tasks.robustness.objective import Objective


class HardLabels:
    """Asks whether images are lost, and counts.

    Args:
        objective: bound to a batch of `count` images; its ``broken`` alone is used.
        count: B.
        device: of the images.
        batch: most images of a forward pass.

    Attributes:
        queries: (B,) int64, questions about each image.
    """

    def __init__(self, objective: Objective, count: int, device: torch.device, batch: int) -> None:
        self.objective, self.batch = objective, batch
        self.queries = torch.zeros(count, dtype=torch.int64, device=device)

    def copies(self, index: Tensor) -> int:
        """How many candidates of each image of `index`, (b,), go into one forward pass, >= 1."""
        return max(self.batch // max(len(index), 1), 1)

    def ask(self, index: Tensor, candidates: Tensor) -> Tensor:
        """(n,) bool: whether candidates (n, C, H, W) for the images `index`, (n,) int64, are lost; one may be there often."""
        self.queries += torch.bincount(index, minlength=len(self.queries))
        answers = [
            self.objective.select(some).broken(images)
            for some, images in zip(index.split(self.batch), candidates.split(self.batch), strict=True)
            if len(some)
        ]
        return torch.cat(answers) if answers else torch.zeros(0, dtype=torch.bool, device=index.device)


class Walk:
    """Base class: how HopSkipJump moves in one norm.

    Attributes:
        norm: the norm.
        precision: p; a search along a way ends at d^(-p) of it, d values an image (Chen et al., 2020).
    """

    norm: Norm
    precision: float

    def whole(self, clean: Tensor, lost: Tensor) -> Tensor:
        """(B,) the parameter at which ``between`` gives the lost image."""
        raise NotImplementedError

    def between(self, clean: Tensor, lost: Tensor, way: Tensor) -> Tensor:
        """Images (B, C, H, W) on the way from clean to lost ones, `way` (B,) from 0 to ``whole``."""
        raise NotImplementedError

    def probes(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Random directions, of any length."""
        raise NotImplementedError


class L2Walk(Walk):
    """Straight to the clean image."""

    norm = L2()
    precision = 1.5

    def whole(self, clean: Tensor, lost: Tensor) -> Tensor:
        """1: the share of the way."""
        return clean.new_ones(len(clean))

    def between(self, clean: Tensor, lost: Tensor, way: Tensor) -> Tensor:
        """clean + way·(lost - clean)."""
        return torch.lerp(clean, lost, per_image(way, clean)).clamp_(0, 1)

    def probes(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Normal: uniform directions."""
        return torch.randn(shape, generator=generator)


class LinfWalk(Walk):
    """Into ever smaller cubes around the clean image."""

    norm = Linf()
    precision = 2.0

    def whole(self, clean: Tensor, lost: Tensor) -> Tensor:
        """Half the side of the cube that the lost image lies on."""
        return self.norm.length(lost - clean)

    def between(self, clean: Tensor, lost: Tensor, way: Tensor) -> Tensor:
        """The nearest image of the cube of half side `way`."""
        radius = per_image(way, clean)
        return torch.clamp(lost, clean - radius, clean + radius).clamp_(0, 1)

    def probes(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Uniform over a cube."""
        return torch.rand(shape, generator=generator) * 2 - 1


_WALKS: dict[str, Walk] = {walk.norm.name: walk for walk in (LinfWalk(), L2Walk())}


def get_walk(norm: str) -> Walk:
    """Look the walk of a norm up.

    Args:
        norm: one of `NORMS`.

    Raises:
        ValueError: the name is unknown.
    """
    return _WALKS[get_norm(norm).name]
