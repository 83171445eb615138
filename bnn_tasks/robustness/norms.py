"""The two balls that attacks search: L∞ and L2, each cut to the valid images [0, 1]."""

import math

import torch
from torch import Tensor


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """(B,) values in the shape that multiplies (B, ...) images."""
    return values.view(-1, *[1] * (images.dim() - 1))


class Norm:
    """Base class: how long a perturbation is, and which way is steepest.

    Attributes:
        name: as in `get_norm`.
    """

    name: str

    def length(self, delta: Tensor) -> Tensor:
        """(B,) lengths of perturbations (B, C, H, W)."""
        raise NotImplementedError

    def largest(self, images: Tensor) -> float:
        """Length of the longest perturbation between two images in [0, 1] of the shape of `images`."""
        raise NotImplementedError

    def total(self, images: Tensor) -> float:
        """The radius from which every image of that shape can be made grey, so that no accuracy can be left."""
        raise NotImplementedError

    def direction(self, gradient: Tensor) -> Tensor:
        """argmax of <gradient, d> over d of length 1, image by image; 0 where the gradient is 0.

        Args:
            gradient: (B, C, H, W).
        """
        raise NotImplementedError

    def project(self, perturbed: Tensor, images: Tensor, eps: float) -> Tensor:
        """A point of ball ∩ [0, 1] near `perturbed`; for L∞ the nearest, for L2 ball first, then range.

        The clamp cannot leave the L2 ball: `images` lie in [0, 1], so it shortens every value's change.

        Args:
            perturbed: (B, C, H, W).
            images: the centres, in [0, 1].
            eps: radius.
        """
        raise NotImplementedError

    def random(self, images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        """Perturbations uniform over the ball, of the shape, dtype and device of `images`; not cut to [0, 1].

        Args:
            images: (B, C, H, W).
            eps: radius.
            generator: on the CPU.
        """
        raise NotImplementedError

    def surface(self, images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        """Random perturbations as large as the ball allows, of the shape, dtype and device of `images`; not cut to [0, 1].

        Args:
            images: (B, C, H, W).
            eps: radius.
            generator: on the CPU.
        """
        return self.direction(torch.randn(images.shape, generator=generator)).to(images) * eps


class Linf(Norm):
    """max abs(δ)."""

    name = "linf"

    def length(self, delta: Tensor) -> Tensor:
        """max abs(δ) of every image."""
        return delta.flatten(1).abs().amax(1)

    def largest(self, images: Tensor) -> float:
        """1, whatever the shape."""
        return 1.0

    def total(self, images: Tensor) -> float:
        """1/2, whatever the shape."""
        return 0.5

    def direction(self, gradient: Tensor) -> Tensor:
        """sign(gradient)."""
        return gradient.sign()

    def project(self, perturbed: Tensor, images: Tensor, eps: float) -> Tensor:
        """Clamped to [max(x - ε, 0), min(x + ε, 1)]."""
        return torch.clamp(perturbed, (images - eps).clamp_min_(0), (images + eps).clamp_max_(1))

    def random(self, images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        """Uniform over [-ε, ε], value by value."""
        return (torch.rand(images.shape, generator=generator) * 2 - 1).to(images) * eps


class L2(Norm):
    """Euclidean length over all values of an image."""

    name = "l2"

    def length(self, delta: Tensor) -> Tensor:
        """√Σδ² of every image."""
        return torch.linalg.vector_norm(delta.flatten(1), dim=1)

    def largest(self, images: Tensor) -> float:
        """√(C·H·W)."""
        return math.sqrt(images.shape[1:].numel())

    def total(self, images: Tensor) -> float:
        """√(C·H·W)/2."""
        return self.largest(images) / 2

    def direction(self, gradient: Tensor) -> Tensor:
        """gradient / its length."""
        # Divided by the largest value first: squares of the gradients of a saturated softmax underflow.
        gradient = gradient / per_image(gradient.flatten(1).abs().amax(1), gradient).clamp_min(
            torch.finfo(gradient.dtype).tiny
        )
        return gradient / per_image(self.length(gradient), gradient).clamp_min(torch.finfo(gradient.dtype).tiny)

    def project(self, perturbed: Tensor, images: Tensor, eps: float) -> Tensor:
        """δ shortened to ε, then the sum clamped to [0, 1]."""
        delta = perturbed - images
        length = self.length(delta).clamp_min(torch.finfo(delta.dtype).tiny)
        return (images + delta * per_image((eps / length).clamp_max(1), delta)).clamp_(0, 1)

    def random(self, images: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        """A uniform direction, its length ε·U^(1/d): uniform over the d-dimensional ball."""
        direction = torch.randn(images.shape, generator=generator)
        radius = torch.rand(len(images), generator=generator) ** (1 / max(images.shape[1:].numel(), 1))
        return (self.direction(direction) * per_image(radius, direction)).to(images) * eps


_NORMS: dict[str, Norm] = {norm.name: norm for norm in (Linf(), L2())}
NORMS = tuple(_NORMS)


def get_norm(name: str) -> Norm:
    """Look a norm up.

    Args:
        name: one of `NORMS`.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in _NORMS:
        raise ValueError(f"Expected `norm` to be one of {list(NORMS)}, but got {name!r}.")
    return _NORMS[name]


def check_images(images: Tensor) -> None:
    """Raise ValueError if `images` are not (B, C, H, W) in [0, 1]; TypeError if they are neither float32 nor float64."""
    if images.dtype not in (torch.float32, torch.float64):
        cure = "images.float()" if images.is_floating_point() else "images.float() / 255"
        raise TypeError(f"Expected `images` to be float32 or float64 in [0, 1], but got {images.dtype}. Cure: {cure}.")
    if images.dim() != 4 or images[:1].numel() == 0:
        raise ValueError(f"Expected `images` to be (B, C, H, W) with B >= 1, but got {tuple(images.shape)}.")
    wrong = ~((images >= 0) & (images <= 1)).flatten(1).all(1)  # not (x < 0 | x > 1): NaN must count
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0, 0])
        low, high = float(images[index].min()), float(images[index].max())
        hint = " They look normalised: mean and std belong into the model, not before the attack." if low < 0 else ""
        hint = " They look like bytes: divide by 255." if high > 20 else hint
        raise ValueError(
            f"Expected `images` in [0, 1], but image {index} of the batch has values from {low:.4g} to {high:.4g}.{hint} "
            "Cure: give images in [0, 1] and let the model normalise them."
        )


def check_eps(eps: float, norm: Norm, images: Tensor) -> None:
    """Raise ValueError if `eps` is not a radius between 0 and the longest perturbation that `norm` knows for `images`."""
    largest = norm.largest(images)
    if not 0 <= eps <= largest:
        raise ValueError(
            f"Expected `eps` to be in [0, {largest:.6g}] for norm {norm.name!r}, but got {eps}. Cure: images are in [0, 1], so "
            "write 8/255 as 0.0313725."
        )
