"""Imitation where student and teacher disagree most, after IDa-Det (Xu et al., 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from bnn_tasks.models import Detector, RawOutputs
from bnn_tasks.tasks.distillation.pyramid import EPS, PyramidTerm
from bnn_tasks.tasks.distillation.teacher import TeacherView


class ProposalImitation(PyramidTerm):
    """Channel-wise divergence inside the boxes in which the two pyramids differ most.

    The best boxes of the teacher and of the student are pooled from both pyramids (standardised channels, the level of
    nearest size); the discrepancy of a box is mean (s - t)² / var t_c, a Mahalanobis distance of diagonal covariance; of
    all boxes the share with the largest one counts:

        weight · τ² · mean over boxes and channels of KL( softmax(t_c / τ) ‖ softmax(s_c / τ) ),  softmax over positions.

    IDa-Det's idea; its own selection and entropy loss differ in detail.

    Args:
        weight: >= 0.
        boxes: best boxes of each of the two in an image, >= 1.
        share: of the boxes that count, in (0, 1].
        size: positions of a pooled box along each side, >= 2.
        temperature: τ > 0.
        teacher_channels: see `PyramidTerm`.
    """

    name = "imitate_proposals"

    def __init__(
        self,
        weight: float = 1.0,
        boxes: int = 32,
        share: float = 0.5,
        size: int = 7,
        temperature: float = 1.0,
        teacher_channels: int | None = None,
    ) -> None:
        super().__init__(teacher_channels)
        if weight < 0 or boxes < 1 or not 0 < share <= 1 or size < 2 or temperature <= 0:
            raise ValueError(
                "Expected `weight` >= 0, `boxes` >= 1, `share` in (0, 1], `size` >= 2 and `temperature` > 0, but got "
                f"{weight}, {boxes}, {share}, {size}, {temperature}."
            )
        self.weight, self.boxes, self.share, self.size = weight, boxes, share, size
        self.temperature = temperature

    def forward(
        self, detector: Detector, features: list[Tensor], outputs: RawOutputs, size: tuple[int, int], view: TeacherView
    ) -> Tensor:
        """See the class; 0 where neither finds a box."""
        with torch.no_grad():
            found = detector.decode({name: [x.detach() for x in maps] for name, maps in outputs.items()}, size)
        rois = [
            torch.cat([mine.boxes[: self.boxes], theirs.boxes[: self.boxes]])
            for mine, theirs in zip(found, view.found, strict=True)
        ]
        strides, students, teachers = (list(one) for one in zip(*self.levels(detector, features, view)))
        student, teacher = self._pool(students, rois, strides), self._pool(teachers, rois, strides)
        if len(student) == 0:
            return 0 * torch.stack([x.sum() for x in students]).sum()
        variance = teacher.var(dim=(0, 2), keepdim=True, unbiased=False) + EPS
        discrepancy = ((student.detach() - teacher).square() / variance).mean(dim=(1, 2))
        chosen = discrepancy.topk(max(1, round(self.share * len(discrepancy)))).indices
        student, teacher = student[chosen] / self.temperature, teacher[chosen] / self.temperature
        divergence = F.kl_div(student.log_softmax(2), teacher.log_softmax(2), reduction="none", log_target=True).sum(2)
        return self.weight * self.temperature**2 * divergence.mean()

    def _pool(self, maps: list[Tensor], rois: list[Tensor], strides: list[int]) -> Tensor:
        """(B, C, size²): every box from the level at which it is nearest to `size` positions wide."""
        boxes = torch.cat(rois)
        images = torch.cat([torch.full((len(x), 1), i, device=x.device, dtype=x.dtype) for i, x in enumerate(rois)])
        side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).prod(dim=1).sqrt()
        ideal = torch.tensor(strides, device=boxes.device).float() * self.size
        level = (side.log()[:, None] - ideal.log()).abs().argmin(dim=1)
        pooled = []
        for index, (x, stride) in enumerate(zip(maps, strides, strict=True)):
            own = torch.cat([images, boxes], dim=1)[level == index]
            pooled.append(roi_align(x, own.to(x.dtype), self.size, 1 / stride, 2, aligned=True).flatten(2))
        return torch.cat(pooled)
