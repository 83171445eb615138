"""HopSkipJump: walks along the decision boundary towards the image; it sees labels alone, no score and no gradient."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.hard_label import HardLabels, get_walk
from bnn_tasks.robustness.norms import check_eps, check_images, per_image
from bnn_tasks.robustness.objective import Objective

MOST_HALVINGS = 24  # of an interval: the bits of a float32's mantissa
FIRST_PROBE = 0.1  # length of the first probes, of the range of a pixel: the authors' published code
TINY = 1e-12


class HopSkipJump(Attack):
    """A lost image at the boundary, the boundary's normal by Monte Carlo, a jump along it, back to the boundary; repeat.

    Chen, Jordan and Wainwright, HopSkipJumpAttack, 2020. With d values an image and t steps done, step t draws
    ``evaluations``·√(t + 1) unit vectors u, asks whether the image stays lost at x + δu, and takes v = Σ(φ - mean φ)u,
    φ = ±1, as normal (of L∞: its sign); the jump is distance/√(t + 1), halved until it ends at a lost image. The search on the
    segment back to the clean image ends at θ = d^(-3/2) of it for L2, d^(-2) for L∞, and δ is the distance/d.

    It starts from uniform noise, or where that is not lost from another picture of the batch; an image for which neither is
    lost is left alone. An image is done once its distance is at most ε.

    Args:
        steps: jumps, >= 1.
        evaluations: probes of the first step, >= 2.
        most_evaluations: of any step, >= `evaluations`.
        norm: "linf" or "l2".
        starts: draws of noise for every image, >= 1.
        batch: images in a forward pass where probes of several images are asked together, >= 1.

    Raises:
        ValueError: an argument is out of range.
    """

    needs_gradient = False
    sees_values = False

    def __init__(
        self,
        steps: int = 64,
        evaluations: int = 100,
        most_evaluations: int = 10_000,
        norm: str = "l2",
        starts: int = 20,
        batch: int = 512,
    ) -> None:
        counts = {"steps": (steps, 1), "evaluations": (evaluations, 2), "starts": (starts, 1), "batch": (batch, 1)}
        for name, (count, least) in {**counts, "most_evaluations": (most_evaluations, evaluations)}.items():
            if count < least:
                raise ValueError(f"Expected `{name}` to be >= {least}, but got {count}.")
        self.walk = get_walk(norm)
        self.steps, self.evaluations, self.most_evaluations = steps, evaluations, most_evaluations
        self.starts, self.batch = starts, batch
        self.norm = self.walk.norm
        self.name = f"HopSkipJump-{steps}"

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; arguments and errors as of `Attack`.

        Of the images that are not lost, `images` is the nearest point of the ball to the boundary that was found, `losses`
        is 0, and 1 of those that are: there is no score. `trace` is minus the mean distance after every step, which rises.
        """
        check_eps(eps, self.norm, images)
        labels, nearest, distances, trace = self._search(objective, images, eps, generator)
        broken = distances <= eps
        inside = torch.where(per_image(broken, images), nearest, self.norm.project(nearest, images, eps))
        return Attacked(inside, broken, broken.float(), labels.queries, trace)

    def smallest(self, objective: Objective, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The nearest lost images that `steps` jumps find, whatever their distance.

        Args:
            objective: bound to the batch.
            images: (B, C, H, W) in [0, 1].
            generator: on the CPU.

        Returns:
            The images, (B, C, H, W), and their distances, (B,): 0 where the image itself is lost, infinite (and the image
            itself) where no start was.

        Raises:
            ValueError: images outside [0, 1].
        """
        _, nearest, distances, _ = self._search(objective, images, 0.0, generator)
        return nearest, distances

    @torch.no_grad()
    def _search(
        self, objective: Objective, images: Tensor, enough: float, generator: torch.Generator
    ) -> tuple[HardLabels, Tensor, Tensor, list[float]]:
        """Labels asked, nearest lost images, their distances, minus the mean distance after every step."""
        check_images(images)
        labels = HardLabels(objective, len(images), images.device, self.batch)
        nearest = images.clone()
        everyone = torch.arange(len(images), device=images.device)
        distances = torch.where(labels.ask(everyone, images), 0.0, torch.inf).to(images)
        for index, start in self._candidates(images, distances, generator):
            lost = labels.ask(index, start)
            nearest[index[lost]] = start[lost]
            distances[index[lost]] = self.norm.length(start[lost] - images[index[lost]])
        index = ((distances > enough) & distances.isfinite()).nonzero()[:, 0]
        here = self._to_boundary(labels, index, images[index], nearest[index])
        trace = []
        for step in range(self.steps + 1):  # the last round only enters what the last step found
            lengths = self.norm.length(here - images[index])
            nearer = lengths < distances[index]
            nearest[index[nearer]], distances[index[nearer]] = here[nearer], lengths[nearer]
            fought = distances[index] > enough
            index, here, lengths = index[fought], here[fought], lengths[fought]
            if step == self.steps or len(index) == 0:
                break
            normal = self._normal(labels, index, here, lengths, step, generator)
            here = self._jump(labels, index, here, normal, lengths / math.sqrt(step + 1))
            here = self._to_boundary(labels, index, images[index], here)
            trace.append(-float(self.norm.length(here - images[index]).mean()))
        return labels, nearest, distances, trace

    def _candidates(
        self, images: Tensor, distances: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Where the search may start, for the images that have no start yet: noise, then the batch's other pictures."""
        for _ in range(self.starts):
            index = distances.isinf().nonzero()[:, 0]
            yield index, torch.rand((len(index), *images.shape[1:]), generator=generator).to(images)
        for shift in range(1, len(images)):
            index = distances.isinf().nonzero()[:, 0]
            if len(index) == 0:
                return
            yield index, images[(index + shift) % len(images)]

    def _to_boundary(self, labels: HardLabels, index: Tensor, clean: Tensor, lost: Tensor) -> Tensor:
        """Halve the way from lost images to the clean ones; gives the last lost image of every search."""
        walk = self.walk
        size = max(clean[:1].numel(), 2)
        halvings = min(math.ceil(walk.precision * math.log2(size)), MOST_HALVINGS)
        low = clean.new_zeros(len(index))
        high = walk.whole(clean, lost)
        for _ in range(halvings):
            middle = (low + high) / 2
            still = labels.ask(index, walk.between(clean, lost, middle))
            low, high = torch.where(still, low, middle), torch.where(still, middle, high)
        return torch.where(per_image(high < walk.whole(clean, lost), clean), walk.between(clean, lost, high), lost)

    def _normal(
        self, labels: HardLabels, index: Tensor, here: Tensor, lengths: Tensor, step: int, generator: torch.Generator
    ) -> Tensor:
        """The direction in which images at the boundary become more lost, of length 1 in the norm."""
        size = max(here[:1].numel(), 1)
        probe = per_image(lengths / size if step else torch.full_like(lengths, FIRST_PROBE), here).clamp(min=TINY)
        count = min(int(self.evaluations * math.sqrt(step + 1)), self.most_evaluations)
        signed, plain, answers = torch.zeros_like(here), torch.zeros_like(here), torch.zeros_like(lengths)
        for first in range(0, count, labels.copies(index)):
            copies = min(labels.copies(index), count - first)
            u = self.walk.probes((copies, *here.shape), generator).to(here)
            u /= u.flatten(2).norm(dim=2).clamp(min=TINY)[..., None, None, None]
            probes = (here + probe * u).clamp_(0, 1)
            phi = 2.0 * labels.ask(index.repeat(copies), probes.flatten(0, 1)).view(copies, -1) - 1
            u = (probes - here) / probe  # what the clamp has left of it
            signed += (phi[..., None, None, None] * u).sum(0)
            plain += u.sum(0)
            answers += phi.sum(0)
        mean = answers / count
        baseline = torch.where(mean.abs() == 1, 0.0, mean)  # with one answer only there is nothing to compare
        return self.norm.direction(signed - per_image(baseline, here) * plain)

    def _jump(self, labels: HardLabels, index: Tensor, here: Tensor, normal: Tensor, sizes: Tensor) -> Tensor:
        """Lost images along the normal, as far as `sizes`, (b,); an image stays where no jump of it is lost."""
        landed = here.clone()
        falling = torch.arange(len(index), device=here.device)
        for halving in range(MOST_HALVINGS):
            jump = per_image(sizes[falling] / 2**halving, here) * normal[falling]
            tried = (here[falling] + jump).clamp_(0, 1)
            lost = labels.ask(index[falling], tried)
            landed[falling[lost]] = tried[lost]
            falling = falling[~lost]
            if len(falling) == 0:
                break
        return landed
