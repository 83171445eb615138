"""What an attack on a segmenter raises, and when it has all it can get."""

import torch
from torch import Tensor

from bnn_tasks.models.resize import resize_bilinear
from bnn_tasks.robustness.objective import Model
from bnn_tasks.robustness.segmentation_losses import VOID, PixelCrossEntropy, PixelLoss, mean_of_pixels, right_pixels
from bnn_tasks.tasks.robustness.canvas import Canvas, CanvasObjective


class SegmentationObjective(CanvasObjective):
    """A pixel's loss leads, cross-entropy measures, both averaged over an image's pixels that are not void.

    The gradient is the loss's, the value always cross-entropy: a masked loss falls with every pixel that turns wrong, and one
    that changes on the way is no measure, so that an attack that compares iterates by them would go back to where it began.
    An image is lost once none of its pixels is right.
    One right pixel keeps an image in the fight: what an attack leaves is a share of right pixels, not a yes or no. An image
    that is void all over has nothing to lose and is lost from the start.

    Args:
        model: images (B, C, H, W) in [0, 1] -> logits (B, K, h, w), of any resolution: a `Segmenter` in eval mode, or what
            runs its exported file.
        masks: (B, H, W) int64 on the canvas, in [0, K), 255 where void.
        canvas: of the batch.
        loss: of a pixel, whose gradient is followed; None is cross-entropy.

    Raises:
        ValueError: masks and canvas disagree in shape.
    """

    def __init__(self, model: Model, masks: Tensor, canvas: Canvas, loss: PixelLoss | None = None) -> None:
        super().__init__(canvas)
        batch, _, height, width = canvas.images.shape
        if tuple(masks.shape) != (batch, height, width):
            raise ValueError(
                f"Expected `masks` to be of shape {(batch, height, width)}, as the images are, but got {tuple(masks.shape)}. "
                "Cure: masks on the canvas, not at the pictures' own size."
            )
        self.model, self.masks = model, masks
        self.loss = PixelCrossEntropy() if loss is None else loss

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) float32 at the masks' size.

        Args:
            images: (B, C, H, W) in [0, 1].

        Raises:
            ValueError: a mask has a value that is no class of the model.
        """
        logits = resize_bilinear(self.model(self.canvas.paste(images)), (self.masks.shape[1], self.masks.shape[2]))
        wrong = self.masks[(self.masks != VOID) & ((self.masks < 0) | (self.masks >= logits.shape[1]))]
        if len(wrong):
            raise ValueError(
                f"Expected masks of classes 0 … {logits.shape[1] - 1}, or {VOID} for void, but got {wrong.unique().tolist()}. "
                "Cure: the model's own class list for the data."
            )
        return logits

    def value(self, logits: Tensor, progress: float = 0.0) -> Tensor:
        """Mean cross-entropy, (B,), with the gradient of the mean of ``loss``.

        Args:
            logits: (B, K, H, W).
            progress: share of the attack's steps that are done, in [0, 1].
        """
        led = mean_of_pixels(self.loss(logits, self.masks, progress), self.masks)
        return mean_of_pixels(PixelCrossEntropy()(logits, self.masks), self.masks).detach() + (led - led.detach())

    def right(self, logits: Tensor) -> Tensor:
        """How many pixels are right, (B,) int64.

        Args:
            logits: (B, K, H, W).
        """
        return right_pixels(logits, self.masks).flatten(1).sum(1)

    def __call__(self, images: Tensor, progress: float = 0.0) -> Tensor:
        """``value`` of the model's logits."""
        return self.value(self.logits(images), progress)

    def broken(self, images: Tensor) -> Tensor:
        """Whether no pixel is right."""
        with torch.no_grad():
            return self.right(self.logits(images)) == 0

    def judged(self, images: Tensor, progress: float = 0.0) -> tuple[Tensor, Tensor]:
        """Both of one forward pass."""
        logits = self.logits(images)
        return self.value(logits, progress), self.right(logits) == 0

    def select(self, index: Tensor) -> "SegmentationObjective":
        """The same on some of the images."""
        return SegmentationObjective(self.model, self.masks[index], self.canvas.select(index), self.loss)

    def raising(self, loss: PixelLoss) -> "SegmentationObjective":
        """The same with another loss.

        Args:
            loss: of a pixel.
        """
        return SegmentationObjective(self.model, self.masks, self.canvas, loss)
