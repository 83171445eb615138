"""The retention probe: how much of a real net's local features a binary net still holds, by stage and pyramid level."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

import torch
from torch import Tensor, nn

from bnn_tasks.models import Detector
from bnn_tasks.tasks.retention_moments import Moments, held_out_r2


class Batch(Protocol):
    """What the probe needs of a batch.

    Attributes:
        images: (B, 3, H, W) float32 RGB in [0, 1].
    """

    images: Tensor


@dataclass(frozen=True)
class LevelRetention:
    """The probe at one place.

    Attributes:
        level: ``backbone.i`` or ``pyramid.i``, i from 0, fine to coarse.
        size: (height, width) of the map for the first batch.
        channels: of the net's map.
        twin_channels: of the twin's map.
        positions: of all maps of held-out images.
        r2: on held-out images, at most 1; 0 is no better than the twin's own mean, below 0 worse. NaN where the twin's map is
            constant.
    """

    level: str
    size: tuple[int, int]
    channels: int
    twin_channels: int
    positions: int
    r2: float


@dataclass(frozen=True)
class Retention:
    """The probe at every place.

    Attributes:
        levels: the backbone's stages, then the pyramid's levels.
        fitted: images that the regressions were fitted on.
        held_out: other images, on which they were judged.
    """

    levels: list[LevelRetention]
    fitted: int
    held_out: int

    def __str__(self) -> str:
        rows = [
            f"{x.level:<12}{x.size[0]:>5} x {x.size[1]:<5}{x.channels:>9}{x.twin_channels:>9}{x.positions:>12,}{x.r2:>9.4f}"
            for x in self.levels
        ]
        head = f"{'level':<12}{'map':^13}{'channels':>9}{'twin':>9}{'positions':>12}{'R²':>9}"
        return "\n".join([head, *rows, f"fitted on {self.fitted} images, R² on {self.held_out} others"])


@torch.no_grad()
def retention(net: Detector, twin: Detector, batches: Iterable[Batch], ridge: float = 1e-6) -> Retention:
    """Regress the twin's features on the net's, position by position, and say what is explained on other images.

    At every backbone stage and pyramid level, ŷ = W·x + b is a 1×1 convolution from the net's map x to the twin's map y:

        R² = 1 - Σ (y - ŷ)² / Σ (y - ȳ)²      channels of x and y divided by their standard deviation on the fitted images

    W is the least-squares solution with ridge · ‖W‖² for the mean square error, over all positions of every second image (the
    first, the third, …); R² is over all positions of the others, and sums over positions and channels. Channels that are
    constant on the fitted images count on neither side. Moments are float64 and gathered batch by batch: no map is kept.

    Args:
        net: the binary net, in eval mode, with a submodule ``backbone``.
        twin: the real net, in eval mode, with maps of the same sizes; channels may differ.
        batches: the images, at least two; on the device of the nets.
        ridge: >= 0, in units of the variance of a channel, which is 1; 0 is plain least squares.

    Raises:
        AttributeError: a net has no ``backbone``.
        ValueError: maps of the two differ in number or size, there are fewer than two images, or `ridge` is negative.
    """
    if ridge < 0:
        raise ValueError(f"Expected `ridge` to be >= 0, but got {ridge}.")
    moments: dict[str, tuple[Moments, Moments]] = {}
    shapes: dict[str, tuple[tuple[int, int], int, int]] = {}
    seen = 0
    for batch in batches:
        ours, theirs = _maps(net, batch.images), _maps(twin, batch.images)
        held_out = (torch.arange(len(batch.images)) + seen) % 2 == 1
        seen += len(batch.images)
        for (level, x), (_, y) in zip_longest(ours.items(), theirs.items(), fillvalue=("", None)):
            if x is None or y is None or x.shape[2:] != y.shape[2:]:
                raise ValueError(
                    f"Expected net and twin to have maps of the same sizes, but got {_sizes(ours)} and {_sizes(theirs)}. "
                    "Cure: the twin's config with the strides and levels of the net's."
                )
            shapes.setdefault(level, ((x.shape[2], x.shape[3]), x.shape[1], y.shape[1]))
            halves = moments.setdefault(level, (Moments(x.shape[1], y.shape[1]), Moments(x.shape[1], y.shape[1])))
            for half, chosen in zip(halves, (~held_out, held_out)):
                half.add(_rows(x[chosen]), _rows(y[chosen]))
    if seen < 2:
        raise ValueError(f"Expected at least two images, to fit on one and judge on another, but got {seen}.")
    levels = [
        LevelRetention(level, *shapes[level], positions=other.count, r2=held_out_r2(fitted, other, ridge))
        for level, (fitted, other) in moments.items()
    ]
    return Retention(levels, fitted=(seen + 1) // 2, held_out=seen // 2)


def _maps(net: Detector, images: Tensor) -> dict[str, Tensor]:
    """The backbone's maps and the pyramid by name, from one forward."""
    with _outputs(net.get_submodule("backbone")) as kept:
        pyramid = net.features(images)
    (stages,) = kept
    maps = {f"backbone.{index}": x for index, x in enumerate(stages)}
    return maps | {f"pyramid.{index}": x for index, x in enumerate(pyramid)}


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[list[Tensor]]]:
    kept: list[list[Tensor]] = []
    handle = module.register_forward_hook(lambda _module, _inputs, outputs: kept.append(outputs))
    try:
        yield kept
    finally:
        handle.remove()


def _rows(maps: Tensor) -> Tensor:
    """(N, C, h, w) -> (N·h·w, C) float64."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).double()


def _sizes(maps: dict[str, Tensor]) -> list[str]:
    return [f"{level} {x.shape[2]}x{x.shape[3]}" for level, x in maps.items()]
