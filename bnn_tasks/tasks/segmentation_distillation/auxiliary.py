"""What is minimised besides a segmenter's own losses."""

from torch import Tensor, nn

from bnn_tasks.models.segmenter import Segmenter


class SegmentationAuxiliaryLoss(nn.Module):
    """Base class of the further training losses of a segmenter; `bnn_tasks.models.AuxiliaryLoss` is the detectors'.

    Its parameters are trained along and are in the checkpoint, but not in what is exported; a teacher's are neither.
    Nothing is loaded before the first call, so that a checkpoint can be opened without the teacher's file.
    """

    def bind(self, segmenter: Segmenter) -> None:
        """Make the parameters that depend on the segmenter; called once, before the optimiser is built.

        Args:
            segmenter: that is trained.
        """

    def check_classes(self, classes: list[str]) -> None:
        """Raise ValueError where the classes are not those that the loss needs; called before a fit.

        Args:
            classes: in label order.
        """

    def forward(
        self,
        segmenter: Segmenter,
        images: Tensor,
        features: list[Tensor],
        outputs: Tensor,
        masks: Tensor,
        progress: float,
    ) -> dict[str, Tensor]:
        """Losses by name, scalars, weights included; they are added to the segmenter's.

        Args:
            segmenter: that is trained, in training mode.
            images: (N, C, H, W) in [0, 1].
            features: what ``segmenter.features`` returned for them, fine to coarse.
            outputs: logits (N, K, h, w) that ``segmenter.predict`` made of the features.
            masks: (N, H, W) int64 in [0, K), 255 where void.
            progress: share of the run's optimiser steps that are done, in [0, 1].
        """
        raise NotImplementedError
