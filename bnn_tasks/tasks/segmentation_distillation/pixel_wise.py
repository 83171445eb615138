"""Imitation of the teacher's class probabilities, pixel by pixel."""

import torch.nn.functional as F
from torch import Tensor

from bnn_tasks.metrics.segmentation import VOID
from bnn_tasks.models.resize import resize_bilinear
from bnn_tasks.tasks.segmentation_distillation.distillation import SegmentationImitationTerm
from bnn_tasks.tasks.segmentation_distillation.teacher import SegmenterView


class PixelWiseImitation(SegmentationImitationTerm):
    """weight · T² · mean over pixels of KL( softmax(t/T) ‖ softmax(s/T) ), t and s the logits of teacher and student.

    The pixel-wise term of Liu et al., Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019, with the
    temperature of Hinton et al., 2015. It is taken at the student's own resolution, to which the teacher's logits are resized
    bilinearly. A position whose pixel in the mask (the nearest to its centre) is void does not count.

    Args:
        weight: >= 0.
        temperature: T > 0; 1 is the paper's.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "imitate_pixels"
    by_class = True

    def __init__(self, weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise ValueError(f"Expected `weight` >= 0 and `temperature` > 0, but got {weight} and {temperature}.")
        self.weight, self.temperature = weight, temperature

    def forward(self, features: list[Tensor], outputs: Tensor, masks: Tensor, view: SegmenterView) -> Tensor:
        """See the class; 0 where every position is void."""
        size = (outputs.shape[2], outputs.shape[3])
        teacher = (resize_bilinear(view.outputs, size) / self.temperature).log_softmax(1)
        student = (outputs.float() / self.temperature).log_softmax(1)
        divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
        judged = F.interpolate(masks[:, None].float(), size, mode="nearest-exact")[:, 0] != VOID
        mean = (divergence * judged).sum() / judged.sum().clamp(min=1)
        return self.weight * self.temperature**2 * mean
