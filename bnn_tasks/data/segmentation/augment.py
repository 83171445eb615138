"""Augmentation of a picture and its mask together: one window, one flip; colours move in the picture alone."""

from abc import ABC, abstractmethod

import numpy as np

from bnn_tasks.data.detection.augment import Augment
from bnn_tasks.data.segmentation.canvas import draw_mask
from bnn_tasks.runtime.images import Placement, Resize, Size


class SegmentationAugment(ABC):
    """Draws training canvases, another way each time, from torch's random numbers: one seed a worker makes it repeatable."""

    @abstractmethod
    def __call__(
        self, image: np.ndarray, mask: np.ndarray, resize: Resize, size: Size
    ) -> tuple[np.ndarray, np.ndarray, Placement]:
        """Draw a picture and its mask.

        Args:
            image: (height, width, 3) uint8 RGB.
            mask: (height, width) uint8; 255 is void.
            resize: how a picture becomes a canvas where nothing is varied.
            size: (height, width) of the canvas.

        Returns:
            The (H, W, 3) uint8 canvas; its (H, W) uint8 mask, 255 where void and outside the picture; and where the picture
            lies on the canvas.
        """


class ScaleCropFlip(SegmentationAugment):
    """Random scale, aspect, crop, flips and colours, as ``Augment`` draws them for detection.

    The crop is the window that the canvas shows: inside the picture where it is smaller than the picture, around it where it is
    larger, so that pictures smaller than the crop are legal; beyond the picture the canvas is grey and its mask void. The
    mask is sampled at the centres of the canvas's pixels, so void stays void and no class is made up.

    Args:
        scale: least and largest magnification of the picture, log-uniform; 0.05..20. (0.5, 2) is DeepLab's range (Chen et
            al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017), whose draws are uniform.
        aspect: largest change of the aspect ratio, log-uniform in [1/aspect, aspect]; 1..2.
        hflip: probability of a left-right flip.
        vflip: probability of a top-bottom flip.
        brightness: values are multiplied by a factor in 1 ± brightness; 0..1.
        contrast: distances from the mean luma are multiplied by a factor in 1 ± contrast; 0..1.
        saturation: distances from each pixel's luma are multiplied by a factor in 1 ± saturation; 0..1.
        hue: colours are turned about the grey axis by an angle in ± hue turns; 0..0.5.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.5, 2.0),
        aspect: float = 1.1,
        hflip: float = 0.5,
        vflip: float = 0.0,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.02,
    ) -> None:
        self._draw = Augment(scale, aspect, hflip, vflip, brightness, contrast, saturation, hue)

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, resize: Resize, size: Size
    ) -> tuple[np.ndarray, np.ndarray, Placement]:
        """Draw a picture and its mask; see ``SegmentationAugment``."""
        canvas, placement = self._draw(image, resize, size)
        return canvas, draw_mask(mask, placement, size), placement
