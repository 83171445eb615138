"""A segmenter that teaches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bnn_tasks.models.segmenter import Segmenter
from bnn_tasks.tasks.distillation.frozen import TrainedTeacher


@dataclass
class SegmenterView:
    """What a teacher sees in a batch.

    Attributes:
        features: of its backbone, (N, C, h, w) each, fine to coarse.
        outputs: its logits, (N, K, h, w) at its decoder's resolution.
    """

    features: list[Tensor]
    outputs: Tensor


class SegmenterTeacher(TrainedTeacher):
    """Any segmenter of this suite, for instance the student's real-valued twin.

    Args:
        path: a checkpoint of ``bnn-tasks fit``; read at the start of a fit.
    """

    kind, noun = Segmenter, "a segmenter"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> SegmenterView:
        """Look at a batch.

        Args:
            images: (N, C, H, W) in [0, 1], on any device.
        """
        module = self.module(images)
        assert isinstance(module, Segmenter)
        features = module.features(images)
        return SegmenterView(features, module.predict(features))
