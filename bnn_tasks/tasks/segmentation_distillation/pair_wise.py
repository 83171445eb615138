"""Imitation of which places of a picture the teacher finds alike."""

import torch.nn.functional as F
from torch import Tensor

from bnn_tasks.models.segmenter import Segmenter
from bnn_tasks.tasks.segmentation_distillation.distillation import SegmentationImitationTerm
from bnn_tasks.tasks.segmentation_distillation.teacher import SegmenterView


class PairWiseImitation(SegmentationImitationTerm):
    """weight · mean over pairs of places (i, j) of (a_ij(student) - a_ij(teacher))²,  a_ij = f_i·f_j / (‖f_i‖·‖f_j‖).

    The pair-wise term of Liu et al., Structured Knowledge Distillation for Semantic Segmentation, CVPR 2019, equation 2. f_i
    are the features of a backbone's map, averaged over the cells of a grid. What is compared is similarity within a net, so
    the two may differ in channels and in magnitudes, as a binary and a real one do. Void pixels take part: they have
    features like any other.

    Args:
        weight: >= 0.
        grid: cells along each side of the picture, >= 2; the matrices are grid² × grid².
        level: index of the backbone's map, the same in both nets; -1 is the coarsest.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "imitate_pairs"

    def __init__(self, weight: float = 1.0, grid: int = 8, level: int = -1) -> None:
        super().__init__()
        if weight < 0 or grid < 2:
            raise ValueError(f"Expected `weight` >= 0 and `grid` >= 2, but got {weight} and {grid}.")
        self.weight, self.grid, self.level = weight, grid, level

    def bind(self, model: Segmenter) -> None:
        """Refuse a level that the student has not.

        Raises:
            ValueError: there is no such map.
        """
        levels = len(model.feature_channels)
        if not -levels <= self.level < levels:
            raise ValueError(
                f"Expected `level` of PairWiseImitation to be one of the backbone's {levels} map(s), but got {self.level}. "
                f"Cure: {-levels} … {levels - 1}."
            )

    def forward(self, features: list[Tensor], outputs: Tensor, masks: Tensor, view: SegmenterView) -> Tensor:
        """See the class.

        Raises:
            ValueError: the teacher has no such map.
        """
        if not -len(view.features) <= self.level < len(view.features):
            raise ValueError(
                f"Expected the teacher to have a map {self.level}, but it has {len(view.features)}. "
                "Cure: `out_indices` of its backbone, or another `level`."
            )
        student, teacher = self._similarity(features[self.level]), self._similarity(view.features[self.level])
        return self.weight * (student - teacher).square().mean()

    def _similarity(self, x: Tensor) -> Tensor:
        """(N, grid², grid²): the cosine of the angle between the features of every two cells."""
        cells = F.normalize(F.adaptive_avg_pool2d(x.float(), self.grid).flatten(2), dim=1)
        return cells.transpose(1, 2) @ cells
