"""What an augmentation of detection images says about the canvas it draws."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.images import Placement, Resize, Size


@dataclass(frozen=True)
class View:
    """Where one picture is seen on a canvas.

    Attributes:
        placement: of the picture on the canvas.
        part: (x0, y0, x1, y1), whole canvas pixels, of the part of the canvas that shows it.
        min_visible: least share of a box's area that must be in the part; 0..1.
    """

    placement: Placement
    part: tuple[int, int, int, int]
    min_visible: float = 0.0

    def boxes(self, boxes: np.ndarray, ignore: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move boxes to the canvas.

        Args:
            boxes: (N, 4) xyxy, image pixels, of positive area.
            ignore: (N,) bool; neither positive nor negative in the loss.

        Returns:
            (N, 4) xyxy float32, canvas pixels, clipped to the part; and (N,) bool, which boxes stay: those whose centre is
            in the part, and at least ``min_visible`` of their area; of those to be ignored all of which some area is in the
            part, since what is seen of them is not background.
        """
        moved = self.placement.to_canvas(boxes)
        low, high = np.array(self.part[:2], np.float32), np.array(self.part[2:], np.float32)
        clipped = moved.clip(np.tile(low, 2), np.tile(high, 2))
        centre = (moved[:, :2] + moved[:, 2:]) / 2
        visible = (clipped[:, 2:] - clipped[:, :2]).prod(1)
        inside = ((centre > low) & (centre < high)).all(1)
        learnt = inside & (visible >= self.min_visible * (moved[:, 2:] - moved[:, :2]).prod(1))
        return clipped, (visible > 0) & (ignore | learnt)


class DetectionAugment(ABC):
    """Draws training canvases, another way each time, from torch's random numbers: one seed a worker makes it repeatable."""

    def pictures(self) -> int:
        """Return how many pictures the next canvas shows, >= 1; the first is the sample's own, the others any."""
        return 1

    @abstractmethod
    def compose(self, pictures: Sequence[np.ndarray], resize: Resize, size: Size) -> tuple[np.ndarray, list[View]]:
        """Draw pictures on a canvas.

        Args:
            pictures: (height, width, 3) uint8 RGB each; as many as ``pictures()`` has just said.
            resize: how a picture becomes a canvas where nothing is varied.
            size: (height, width) of the canvas.

        Returns:
            The (H, W, 3) uint8 canvas, and a view a picture.
        """
