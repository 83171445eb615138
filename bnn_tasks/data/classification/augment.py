"""Training augmentation for classification; every choice is drawn from torch's random numbers."""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch

from bnn_tasks.data.module import check_range
from bnn_tasks.runtime.images import Resize, Size

# Names of numpy's padding modes.
BORDERS: dict[str, Literal["constant", "reflect"]] = {"zero": "constant", "reflect": "reflect"}


class BatchAugment(ABC):
    """Varies a whole batch of canvases at once: for small pictures, which cost more to handle than to change."""

    @abstractmethod
    def __call__(self, canvases: np.ndarray) -> np.ndarray:
        """Return varied canvases.

        Args:
            canvases: (N, H, W, 3) uint8 RGB; not changed.

        Returns:
            (N, H, W, 3) uint8 RGB.
        """


class PictureAugment(ABC):
    """Draws one picture on its canvas, another way each time: for large pictures, of which it chooses the part to show."""

    @abstractmethod
    def __call__(self, image: np.ndarray, resize: Resize, size: Size) -> np.ndarray:
        """Return a canvas.

        Args:
            image: (height, width, 3) uint8 RGB.
            resize: draws the chosen part.
            size: (height, width) of the canvas.

        Returns:
            (H, W, 3) uint8 RGB.
        """


class CropFlip(BatchAugment):
    """Moves each canvas by up to ``padding`` pixels on both axes, and flips it left to right: CIFAR's usual augmentation.

    Args:
        padding: largest move in pixels, >= 0; every move is as likely.
        flip: probability of a flip; 0..1.
        border: what moves in: ``"zero"`` is black, ``"reflect"`` mirrors the canvas without its outermost pixels.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(self, padding: int = 4, flip: float = 0.5, border: Literal["zero", "reflect"] = "zero") -> None:
        if padding < 0:
            raise ValueError(f"Expected `padding` to be at least 0, but got {padding}")
        if border not in BORDERS:
            raise ValueError(f"Expected `border` to be one of {sorted(BORDERS)}, but got {border!r}")
        check_range("flip", flip, 0, 1)
        self.padding = padding
        self.flip = flip
        self.border = border

    def __call__(self, canvases: np.ndarray) -> np.ndarray:
        """Return moved and flipped canvases.

        Args:
            canvases: (N, H, W, 3) uint8 RGB; not changed.

        Returns:
            (N, H, W, 3) uint8 RGB.

        Raises:
            ValueError: ``border`` is ``"reflect"`` and a side is no longer than ``padding``.
        """
        count, height, width, _ = canvases.shape
        pad = self.padding
        if self.border == "reflect" and pad >= min(height, width):
            raise ValueError(f"Expected `padding` to be less than the canvas's sides {height, width}, but got {pad}")
        corners = torch.randint(2 * pad + 1, (count, 2)).numpy()
        flipped = (torch.rand(count) < self.flip).numpy()
        padded = np.pad(canvases, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=BORDERS[self.border])
        rows = corners[:, :1] + np.arange(height)
        columns = corners[:, 1:] + np.where(flipped[:, None], np.arange(width)[::-1], np.arange(width))
        return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


class RandomResizedCrop(PictureAugment):
    """Shows a random part of the picture on the whole canvas: ImageNet's usual augmentation.

    A part that would reach beyond the picture is shrunk until it fits, its aspect ratio kept.

    Args:
        area: least and largest share of the picture's area, uniform; 0 < least <= largest <= 1.
        aspect: least and largest width over height of the part, log-uniform; > 0.
        flip: probability of a left-right flip; 0..1.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self, area: tuple[float, float] = (0.08, 1.0), aspect: tuple[float, float] = (3 / 4, 4 / 3), flip: float = 0.5
    ) -> None:
        if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f"Expected `area` to be 0 < least <= largest <= 1, but got {area}")
        if len(aspect) != 2 or not 0 < aspect[0] <= aspect[1] < float("inf"):
            raise ValueError(f"Expected `aspect` to be 0 < least <= largest, but got {aspect}")
        check_range("flip", flip, 0, 1)
        self.area = (float(area[0]), float(area[1]))
        self.aspect = (float(aspect[0]), float(aspect[1]))
        self.flip = flip

    def __call__(self, image: np.ndarray, resize: Resize, size: Size) -> np.ndarray:
        """Draw a random part on a canvas.

        Args:
            image: (height, width, 3) uint8 RGB.
            resize: draws the part; its rule is not asked.
            size: (height, width) of the canvas.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        random = torch.rand(5).tolist()
        height, width = image.shape[:2]
        area = height * width * (self.area[0] + (self.area[1] - self.area[0]) * random[0])
        aspect = self.aspect[0] * (self.aspect[1] / self.aspect[0]) ** random[1]
        wide, high = (area * aspect) ** 0.5, (area / aspect) ** 0.5
        shrink = min(1.0, width / wide, height / high)
        wide, high = wide * shrink, high * shrink
        left, top = random[2] * (width - wide), random[3] * (height - high)
        canvas, _ = resize.fit(image, (left, top, left + wide, top + high), size)
        return canvas[:, ::-1] if random[4] < self.flip else canvas
