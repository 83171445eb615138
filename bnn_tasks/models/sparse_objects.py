"""BiDet's sparse object prior: more detections than objects cost something."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bnn_tasks.models.auxiliary import AuxiliaryLoss
from bnn_tasks.models.detector import Boxes, BoxTarget, Detector, RawOutputs
from bnn_tasks.models.information_bottleneck import FIRST_DROP, check_weight_and_start


class SparseObjects(AuxiliaryLoss):
    """weight · mean over (image, class) of -Σ_d p_d·log(p_d) / G: few detections hold the scores (Wang et al., BiDet, 2020).

    G > 0 counts the objects of the class in the image; d runs over the D detections that the detector's own thresholds and NMS
    leave of it, p_d = s_d / Σ s with the sum held constant in backward, as the released code does. Only pairs with D > G count.
    So the gradient of a score s_d is -(log(p_d) + 1) / (G·Σ s): a share below 1/e falls, one above rises. Boxes get none.

    A pair with an object to be ignored (VOC's difficult ones, COCO's crowds) does not count: how many detections would be right
    is not known.

    Args:
        weight: finite and > 0; 0.2 is the released code's.
        start: share of the run's steps after which the loss counts, in [0, 1); 0.1 is where the released SSD's learning rate
            first drops. Decoding every training batch takes time, and an untrained detector leaves hundreds of boxes an image.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, weight: float = 0.2, start: float = FIRST_DROP) -> None:
        super().__init__()
        check_weight_and_start(weight, start)
        self.weight, self.start = weight, start

    def forward(
        self,
        detector: Detector,
        images: Tensor,
        features: list[Tensor],
        outputs: RawOutputs,
        targets: Sequence[BoxTarget],
        progress: float,
    ) -> dict[str, Tensor]:
        """``sparse_objects``, 0 where no image has too many detections; nothing before ``start``."""
        if progress < self.start:
            return {}
        decoded = detector.decode(outputs, (images.shape[2], images.shape[3]))
        pairs = [term for found, target in zip(decoded, targets, strict=True) for term in _entropies(found, target)]
        total = torch.stack(pairs).mean() if pairs else torch.zeros((), device=images.device)
        return {"sparse_objects": self.weight * total}


def _entropies(found: Boxes, target: BoxTarget) -> list[Tensor]:
    """-Σ p·log(p) / G of every class of an image that has more detections than objects."""
    terms = []
    for label in target.labels.unique().tolist():
        objects = target.labels == label
        scores = found.scores[found.labels == label]
        count = int(objects.sum())
        if len(scores) > count and not bool(target.ignore[objects].any()):
            share = scores / scores.detach().sum()
            terms.append(-torch.xlogy(share, share).sum() / count)
    return terms
