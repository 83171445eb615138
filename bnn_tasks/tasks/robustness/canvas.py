"""Where an attacker may change a batch: in the pictures, not in what a letterboxed canvas is filled up with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn_tasks.robustness.attacks.base import Attack, Attacked
from bnn_tasks.robustness.objective import Objective
from bnn_tasks.runtime.images import Placement, covered_pixels
from bnn_tasks.tasks.robustness.chunks import join, out_of_memory

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Canvas:
    """A batch at the network's input size, where attacks act.

    Attributes:
        images: (B, C, H, W) float32 in [0, 1], as the data module gave them.
        inside: (B, 1, H, W) bool, where the picture lies.
    """

    images: Tensor
    inside: Tensor

    @classmethod
    def of(cls, images: Tensor, placements: Sequence[Placement]) -> "Canvas":
        """The canvas of a batch.

        To a picture belong the pixels that `bnn_tasks.runtime.images.Resize` draws: those that it covers whole.

        Args:
            images: (B, C, H, W) float32 in [0, 1].
            placements: where each picture lies.

        Raises:
            ValueError: not as many placements as images.
        """
        if len(placements) != len(images):
            raise ValueError(f"Expected a placement an image, but got {len(placements)} for {len(images)} images.")
        height, width = images.shape[-2:]
        inside = images.new_zeros(len(images), 1, height, width, dtype=torch.bool)
        for picture, at in zip(inside, placements):
            top, bottom = covered_pixels(at.scale_y, at.offset_y, at.height, height)
            left, right = covered_pixels(at.scale_x, at.offset_x, at.width, width)
            picture[:, top:bottom, left:right] = True
        return cls(images, inside)

    def paste(self, images: Tensor) -> Tensor:
        """The pictures of `images` on this canvas: what lies outside is this canvas's own, and has no gradient.

        Args:
            images: (B, C, H, W).
        """
        return torch.where(self.inside, images, self.images)

    def select(self, index: Tensor) -> "Canvas":
        """Some of the images.

        Args:
            index: (b,) int64, places in the batch.
        """
        return Canvas(self.images[index], self.inside[index])


class CanvasObjective(Objective):
    """Base class of the objectives whose images lie on a canvas; they look at what `Canvas.paste` gives.

    Args:
        canvas: of the batch.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas

    def attack(self, attack: Attack, eps: float, generator: torch.Generator) -> Attacked:
        """Run an attack on the canvas's images; outside the pictures nothing has changed, bit by bit.

        A random start may have spent a part of an L2 ball outside the picture, so that ball is used a little less. Where memory
        runs out, the batch is halved, and the log says so.

        Args:
            attack: what raises the objective.
            eps: radius of the ball, see `Attack.__call__`.
            generator: on the CPU.
        """
        count = len(self.canvas.images)
        try:
            found = attack(self, self.canvas.images, eps, generator)
            found.images = self.canvas.paste(found.images)
            return found
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or count == 1:
                raise
        # Here and not above: as long as the error is there, it keeps all that the failed attempt has allocated.
        _log.warning("out of memory with %d images at a time; halving the batch", count)
        halves = torch.arange(count).tensor_split(2)
        return join([self.select(index).attack(attack, eps, generator) for index in halves])

    def select(self, index: Tensor) -> "CanvasObjective":
        """The same on some of the images.

        Args:
            index: (b,) int64, places in the batch.
        """
        raise NotImplementedError
