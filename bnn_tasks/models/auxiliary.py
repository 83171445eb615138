"""What is minimised besides a detector's own losses: distillation, information bottleneck, sparse priors."""

from collections.abc import Sequence

from torch import Tensor, nn

from bnn_tasks.models.detector import BoxTarget, Detector, RawOutputs


class AuxiliaryLoss(nn.Module):
    """Base class of the further training losses of a detector.

    Its parameters (an adapter's, say) are trained along and are in the checkpoint, but not in what is exported; a teacher's
    are neither. Nothing is loaded before the first call, so that a checkpoint can be opened without the teacher's file.
    """

    def bind(self, detector: Detector) -> None:
        """Make the parameters that depend on the detector; called once, before the optimiser is built.

        Args:
            detector: that is trained.
        """

    def check_classes(self, classes: list[str]) -> None:
        """Raise ValueError where the classes are not those that the loss needs; called before a fit.

        Args:
            classes: in label order.
        """

    def forward(
        self,
        detector: Detector,
        images: Tensor,
        features: list[Tensor],
        outputs: RawOutputs,
        targets: Sequence[BoxTarget],
        progress: float,
    ) -> dict[str, Tensor]:
        """Losses by name, scalars, weights included; they are added to the detector's.

        Args:
            detector: that is trained, in training mode.
            images: (N, 3, H, W) RGB in [0, 1].
            features: what ``detector.features`` returned for them.
            outputs: what ``detector.raw_outputs`` made of the features.
            targets: ground truth, one an image.
            progress: share of the run's optimiser steps that are done, in [0, 1].
        """
        raise NotImplementedError
