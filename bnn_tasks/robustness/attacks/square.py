"""Square: random search with square patches, which needs the objective's values and no gradient."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.attacks.ledger import Ledger
from bnn_tasks.robustness.norms import check_eps, check_images, get_norm
from bnn_tasks.robustness.objective import Objective

# Steps, of 10 000, after which the share p of pixels that a square covers is halved: the authors' published code.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
TINY = 1e-12  # keeps quotients of norms finite


class _Draw:
    """Random numbers from one generator, on the device of what they change."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device

    def signs(self, *shape: int) -> Tensor:
        """±1, float32."""
        return (2.0 * torch.randint(2, shape, generator=self.generator) - 1).to(self.device)

    def places(self, count: int, most: int) -> Tensor:
        """(count,) int64, uniform over 0 … most."""
        return torch.randint(most + 1, (count,), generator=self.generator).to(self.device)


class _Windows:
    """One square window an image, for reading and writing.

    Args:
        shape: of the images, (B, C, H, W).
        side: s, pixels, at most H and W.
        draw: gives the places.
    """

    def __init__(self, shape: torch.Size, side: int, draw: _Draw) -> None:
        count, channels, height, width = shape
        offset = torch.arange(side, device=draw.device)
        rows = draw.places(count, height - side)[:, None] + offset
        columns = draw.places(count, width - side)[:, None] + offset
        image = torch.arange(count, device=draw.device).view(-1, 1, 1, 1)
        channel = torch.arange(channels, device=draw.device).view(1, -1, 1, 1)
        self.index = (image, channel, rows[:, None, :, None], columns[:, None, None, :])


def _norm(x: Tensor) -> Tensor:
    """Euclidean length of every image, (B, 1, 1, 1)."""
    return x.square().sum((1, 2, 3), keepdim=True).sqrt()


def _channel_norm(x: Tensor) -> Tensor:
    """Euclidean length of every channel, (B, C, 1, 1)."""
    return x.square().sum((2, 3), keepdim=True).sqrt()


def _linf_start(images: Tensor, eps: float, draw: _Draw) -> Tensor:
    """Vertical stripes of width 1, ±ε in every channel."""
    count, channels, _, width = images.shape
    return (images + eps * draw.signs(count, channels, 1, width)).clamp(0, 1)


def _linf_move(images: Tensor, best: Tensor, eps: float, side: int, draw: _Draw) -> Tensor:
    """In one square the change becomes ±ε, one sign a channel (algorithm 2 of the paper)."""
    window = _Windows(images.shape, side, draw)
    moved = best.clone()
    moved[window.index] = images[window.index] + eps * draw.signs(*images.shape[:2], 1, 1)
    return moved.clamp_(0, 1)


def pyramid(height: int, width: int) -> Tensor:
    """A pyramid of Euclidean length 1: at Chebyshev distance d of the middle Σ_{k >= d} 1/(k + 1)² (§3.3 of the paper).

    Args:
        height: pixels, >= 0.
        width: pixels, >= 1.
    """
    levels = max(height // 2, width // 2) + 1
    heights = (1 / torch.arange(1.0, levels + 1).square()).flip(0).cumsum(0).flip(0)
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    shape = heights[torch.maximum(rows[:, None], columns)]
    return shape / shape.norm().clamp(min=TINY)


def bump(side: int) -> Tensor:
    """A positive pyramid above a negative one, (side, side), of Euclidean length 1 (η of the paper)."""
    shape = torch.cat([pyramid(side // 2, side), -pyramid(side - side // 2, side)])
    return shape / shape.norm()


def _bumps(count: int, channels: int, side: int, draw: _Draw) -> Tensor:
    """One bump an image, upright or lying, with a sign a channel: (count, channels, side, side)."""
    upright = bump(side).to(draw.device)
    turned = draw.signs(count, 1, 1, 1) > 0
    return torch.where(turned, upright.T, upright) * draw.signs(count, channels, 1, 1)


def _on_sphere(images: Tensor, delta: Tensor, eps: float) -> Tensor:
    """A change of length ε in the direction of `delta`; the clamp to [0, 1] only shortens it."""
    return (images + delta * (eps / _norm(delta).clamp(min=TINY))).clamp(0, 1)


def _l2_start(images: Tensor, eps: float, draw: _Draw) -> Tensor:
    """A grid of bumps, five along the shorter side."""
    count, channels, height, width = images.shape
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    grid = _bumps(count * rows * columns, channels, side, draw).view(count, rows, columns, channels, side, side)
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    delta = torch.zeros_like(images)
    delta[:, :, top : top + rows * side, left : left + columns * side] = grid.permute(0, 3, 1, 4, 2, 5).reshape(
        count, channels, rows * side, columns * side
    )
    return _on_sphere(images, delta, eps)


def _l2_move(images: Tensor, best: Tensor, eps: float, side: int, draw: _Draw) -> Tensor:
    """One square takes a bump and the length that another square gives up (algorithm 3 of the paper)."""
    side = max(side, 3)
    side = min(side + (side % 2 == 0), *images.shape[2:])  # odd, as the authors' code has it
    delta = best - images
    taking, giving = _Windows(images.shape, side, draw), _Windows(images.shape, side, draw)
    either = torch.zeros_like(images)
    either[taking.index] = 1
    either[giving.index] = 1
    old = delta[taking.index]
    unused = (eps**2 - _norm(delta).square()).clamp(min=0) / images.shape[1]
    length = (unused + _channel_norm(delta * either).square()).sqrt()
    new = _bumps(len(images), images.shape[1], side, draw) + old / (_channel_norm(old) + TINY)
    new = new / (_channel_norm(new) + TINY) * length
    delta[giving.index] = 0
    delta[taking.index] = new
    return _on_sphere(images, delta, eps)


Start = Callable[[Tensor, float, _Draw], Tensor]
Move = Callable[[Tensor, Tensor, float, int, _Draw], Tensor]
MOVES: dict[str, tuple[Start, Move]] = {"linf": (_linf_start, _linf_move), "l2": (_l2_start, _l2_move)}


class Square(Attack):
    """Random search: a square of random place and size is changed, and kept where the objective rises.

    Andriushchenko et al., Square Attack, ECCV 2020; for a classifier give it a `MarginObjective`, the paper's loss. Places and
    signs are drawn for every image by itself; an image is done once it is lost. The objective's `progress` stays 0, since
    its values are compared across steps.

    Args:
        queries: forward passes an image may cost, the one of the clean image included, >= 2; a lost image costs one more, which
            confirms it.
        p_init: share of the pixels that the first squares cover, in (0, 1]; the paper's 0.8. It is halved nine times, at the
            paper's steps of 10 000 rescaled to `queries`.
        norm: "linf" or "l2".

    Raises:
        ValueError: an argument is out of range.
    """

    needs_gradient = False

    def __init__(self, queries: int = 5000, p_init: float = 0.8, norm: str = "linf") -> None:
        if queries < 2:
            raise ValueError(f"Expected `queries` to be >= 2, but got {queries}.")
        if not 0 < p_init <= 1:
            raise ValueError(f"Expected `p_init` to be in (0, 1], but got {p_init}.")
        self.queries, self.p_init, self.norm = queries, p_init, get_norm(norm)
        self._start, self._move = MOVES[norm]
        self.name = f"Square-{queries}"

    def side(self, step: int, height: int, width: int) -> int:
        """Side of the squares, √(p·H·W) rounded, in pixels, at most the image's own.

        Args:
            step: done so far, in [0, queries).
            height: of the image.
            width: of the image.
        """
        p = self.p_init / 2 ** sum(int(step / self.queries * 10_000) > halving for halving in HALVINGS)
        return min(max(round(math.sqrt(p * height * width)), 1), height, width)

    def __call__(self, objective: Objective, images: Tensor, eps: float, generator: torch.Generator) -> Attacked:
        """Attack one batch; arguments and errors as of `Attack`."""
        check_images(images)
        check_eps(eps, self.norm, images)
        draw = _Draw(generator, images.device)
        ledger = Ledger(objective, images)
        ledger.losses[ledger.alive] = -torch.inf  # the search starts at the first pattern, be it worse than the image
        for step in range(self.queries - 1):
            alive = ledger.alive
            if len(alive) == 0:
                break
            clean = images[alive]
            if step == 0:
                tried = self._start(clean, eps, draw)
            else:
                side = self.side(step - 1, *images.shape[2:])
                tried = self._move(clean, ledger.images[alive], eps, side, draw)
            ledger.try_out(alive, tried, progress=0.0)
            ledger.trace.append(float(ledger.losses[alive].mean()))
        return ledger.result()
