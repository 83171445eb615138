"""Augmentation of one image that costs one resampling: choose another window of it, flip arrays, move colours."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from bnn_tasks.data.detection.view import DetectionAugment, View
from bnn_tasks.data.module import check_range
from bnn_tasks.runtime.images import Placement, Resize, Size

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class Augment(DetectionAugment):
    """Random window, flips and colours, from torch's random numbers: one seed a worker makes it repeatable.

    The window is the resize rule's one, enlarged or shrunk, at a random place. On each axis it lies inside the image
    where it is smaller than the image, and around it where it is larger; the canvas beyond the image is grey. A box
    stays when its centre is on the canvas and at least ``min_visible`` of its area is, one to be ignored whenever some of it
    is; see ``View``.

    Args:
        scale: least and largest magnification of the picture, log-uniform; 0.05..20. (0.1, 2) is the range of large scale
            jittering (Ghiasi et al., Simple Copy-Paste, 2021), whose draws are uniform; (0.8, 1.25) its standard jittering.
        aspect: largest change of the aspect ratio, log-uniform in [1/aspect, aspect]; 1..2.
        hflip: probability of a left-right flip.
        vflip: probability of a top-bottom flip.
        brightness: values are multiplied by a factor in 1 ± brightness; 0..1.
        contrast: distances from the mean luma are multiplied by a factor in 1 ± contrast; 0..1.
        saturation: distances from each pixel's luma are multiplied by a factor in 1 ± saturation; 0..1.
        hue: colours are turned about the grey axis by an angle in ± hue turns; 0..0.5.
        min_visible: least visible share of a box's area; 0..1.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.6, 1.5),
        aspect: float = 1.1,
        hflip: float = 0.5,
        vflip: float = 0.0,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.02,
        min_visible: float = 0.3,
    ) -> None:
        if len(scale) != 2 or not 0.05 <= scale[0] <= scale[1] <= 20:
            raise ValueError(f"Expected `scale` to be 0.05 <= least <= largest <= 20, but got {scale}")
        check_range("aspect", aspect, 1, 2)
        check_range("hue", hue, 0, 0.5)
        unit = {"hflip": hflip, "vflip": vflip, "brightness": brightness, "contrast": contrast}
        for name, value in {**unit, "saturation": saturation, "min_visible": min_visible}.items():
            check_range(name, value, 0, 1)
        self.scale = (float(scale[0]), float(scale[1]))
        self.aspect = aspect
        self.hflip = hflip
        self.vflip = vflip
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.min_visible = min_visible

    def __call__(self, image: np.ndarray, resize: Resize, size: Size) -> tuple[np.ndarray, Placement]:
        """Draw the image on a canvas, another way each time.

        Args:
            image: (height, width, 3) uint8 RGB.
            resize: whose rule gives the window that is varied.
            size: (height, width) of the canvas.

        Returns:
            The (H, W, 3) uint8 canvas, and where the image lies on it; a negative scale is a flip.
        """
        return self.show(image, resize, size, size)

    def compose(self, pictures: Sequence[np.ndarray], resize: Resize, size: Size) -> tuple[np.ndarray, list[View]]:
        """Draw the one picture on the whole canvas.

        Args:
            pictures: one, (height, width, 3) uint8 RGB.
            resize: whose rule gives the window that is varied.
            size: (height, width) of the canvas.

        Returns:
            The (H, W, 3) uint8 canvas, and its view.
        """
        (image,) = pictures
        canvas, placement = self(image, resize, size)
        return canvas, [View(placement, (0, 0, size[1], size[0]), self.min_visible)]

    def show(self, image: np.ndarray, resize: Resize, size: Size, part: Size) -> tuple[np.ndarray, Placement]:
        """Draw the image on a part of a canvas, as large as it would be on the whole one.

        Args:
            image: (height, width, 3) uint8 RGB.
            resize: whose rule gives the window that is varied.
            size: (height, width) of the canvas.
            part: (height, width) of the part.

        Returns:
            The (*part, 3) uint8 part, and where the image lies on it.
        """
        random = torch.rand(10).tolist()
        height, width = image.shape[:2]
        x0, y0, x1, y1 = resize.window(height, width, size)
        low, high = self.scale
        magnification = low * (high / low) ** random[0]
        stretch = self.aspect ** (random[1] - 0.5)  # the square root: one axis gains what the other loses
        share_y, share_x = part[0] / size[0], part[1] / size[1]
        left, right = _place((x1 - x0) * share_x / magnification * stretch, width, random[2])
        top, bottom = _place((y1 - y0) * share_y / magnification / stretch, height, random[3])
        canvas, placement = resize.fit(image, (left, top, right, bottom), part)
        if random[4] < self.hflip:
            canvas = canvas[:, ::-1]
            placement = placement._replace(scale_x=-placement.scale_x, offset_x=part[1] - placement.offset_x)
        if random[5] < self.vflip:
            canvas = canvas[::-1]
            placement = placement._replace(scale_y=-placement.scale_y, offset_y=part[0] - placement.offset_y)
        return self._recolour(canvas, random[6:]), placement

    def _recolour(self, canvas: np.ndarray, random: list[float]) -> np.ndarray:
        spans = (self.brightness, self.contrast, self.saturation, self.hue)
        if not any(spans):
            return np.ascontiguousarray(canvas)
        brightness, contrast, saturation, hue = ((2 * r - 1) * span for r, span in zip(random, spans))
        gain, contrast = 1 + brightness, 1 + contrast
        matrix = gain * contrast * (_hue_matrix(hue) @ _saturation_matrix(1 + saturation))
        shift = gain * (1 - contrast) * float(canvas.mean((0, 1)) @ LUMA)
        rows = np.column_stack([matrix, np.full(3, shift)]).ravel().tolist()
        return np.array(Image.fromarray(canvas).convert("RGB", tuple(rows)))  # rounds and clips


def _place(extent: float, length: int, random: float) -> tuple[float, float]:
    start = random * (length - extent)
    return start, start + extent


def _saturation_matrix(factor: float) -> np.ndarray:
    return factor * np.eye(3) + (1 - factor) * np.outer(np.ones(3), LUMA)


def _hue_matrix(turns: float) -> np.ndarray:
    """Rotate RGB about the grey axis (1, 1, 1)/√3, by Rodrigues' formula."""
    angle = 2 * math.pi * turns
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) / 3 * np.ones((3, 3)) + math.sin(angle) * cross
