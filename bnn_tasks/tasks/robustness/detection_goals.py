"""What attackers of detectors raise: training losses, class by class too, and TOG's three targeted goals."""

from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn_tasks.models import SSD, BoxTarget, Detector, FasterRCNN, RawOutputs, RetinaNet
from bnn_tasks.models.anchors import rows
from bnn_tasks.tasks.robustness.detection_objectives import DetectionGoal, Objects

CLASSIFICATION = ("cls", "rpn_cls")  # of `Detector.loss`'s names
REGRESSION = ("box", "rpn_box")


def _total(losses: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    if unknown := set(losses) - {*CLASSIFICATION, *REGRESSION}:
        raise ValueError(
            f"Expected losses {CLASSIFICATION} and {REGRESSION}, but the detector has {sorted(unknown)} too."
        )
    return torch.stack([value for name, value in losses.items() if name in names]).sum()


class Classification(DetectionGoal):
    """A_cls: the image's classification losses, both stages' where there are two (Zhang and Wang, ICCV 2019).

    With an SSD an image without objects has neither loss, and nothing to lose by these goals.
    """

    name = "cls"

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        return _total(detector.loss(outputs, [target]), CLASSIFICATION)


class Regression(DetectionGoal):
    """A_reg: the image's box losses (Zhang and Wang, ICCV 2019); weak alone, since scores stay. 0 without objects."""

    name = "reg"

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        return _total(detector.loss(outputs, [target]), REGRESSION)


class Combined(DetectionGoal):
    """A_cls + A_reg, the training loss; with `OnDetected`, in place of the truth, it is TOG's untargeted attack."""

    name = "cls+reg"

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        return _total(detector.loss(outputs, [target]), CLASSIFICATION + REGRESSION)


class ClassWise(DetectionGoal):
    """CWA: Σ_c 1/n_c Σ_{o of class c} L(o), n_c the image's objects of class c (Chen et al., CVPR 2021).

    The normalisation is the paper's: a class with many objects does not drown one with few. L(o) is reconstructed: the
    detector's losses with every object but o ignored, neither positive nor negative. The paper clips the loss of an object,
    at a bound that we do not know; nothing is clipped here. An image without objects has `Combined`'s loss. Costs a loss,
    though no forward pass, an object.
    """

    name = "class_wise"

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        counted = torch.nonzero(~target.ignore).flatten()
        if not len(counted):
            return _total(detector.loss(outputs, [target]), CLASSIFICATION + REGRESSION)
        labels = target.labels[counted]
        of_class = torch.bincount(labels)
        losses = []
        for index in counted:
            ignore = torch.ones_like(target.ignore)
            ignore[index] = False
            alone = Objects(target.boxes, target.labels, ignore, target.crowd)
            losses.append(_total(detector.loss(outputs, [alone]), CLASSIFICATION + REGRESSION))
        return (torch.stack(losses) / of_class[labels]).sum()


class Vanishing(DetectionGoal):
    """- `background_loss`: everything is background, so that objects vanish (TOG, Chow et al., 2020: the loss of no object).

    It does not depend on the image's objects.
    """

    name = "vanishing"

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        return -background_loss(detector, outputs)


class Fabrication(DetectionGoal):
    """+ `background_loss`: nothing is background, so that objects appear everywhere (TOG, Chow et al., 2020).

    It does not depend on the image's objects.
    """

    name = "fabrication"

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        return background_loss(detector, outputs)


class Mislabelling(DetectionGoal):
    """- loss with every object's class y replaced by (y + offset) mod K: boxes stay, classes change (TOG, Chow et al., 2020).

    TOG takes the likeliest or the least likely wrong class; a fixed one makes nets comparable.

    Args:
        offset: >= 1, no multiple of K.

    Raises:
        ValueError: `offset` is out of range; a detector's K divides it, as 1 class divides every offset.
    """

    name = "mislabelling"

    def __init__(self, offset: int = 1) -> None:
        if offset < 1:
            raise ValueError(f"Expected `offset` to be >= 1, but got {offset}.")
        self.offset = offset

    def __call__(self, detector: Detector, outputs: RawOutputs, target: BoxTarget) -> Tensor:
        """See the base class."""
        if self.offset % detector.num_classes == 0:
            raise ValueError(
                f"Expected `offset` to be no multiple of the number of classes, {detector.num_classes}, but got {self.offset}. "
                "Cure: offset 1 and a detector of at least two classes."
            )
        labels = (target.labels + self.offset) % detector.num_classes
        wrong = Objects(target.boxes, labels, target.ignore, target.crowd)
        return -_total(detector.loss(outputs, [wrong]), CLASSIFICATION + REGRESSION)


@singledispatch
def background_loss(detector: Detector, outputs: RawOutputs) -> Tensor:
    """Mean over all anchors of -log P(background), of every stage: the loss of an image without objects, unsampled.

    TOG's for SSD; for RetinaNet and Faster R-CNN reconstructed from its rule, classify everything as background.
    `Detector.loss` does not serve here: SSD's of an image without objects is 0, RetinaNet's fades with the focal factor.

    Args:
        detector: in eval mode.
        outputs: of one image.

    Raises:
        TypeError: a detector of another kind.
    """
    raise TypeError(
        f"Expected a RetinaNet, SSD or FasterRCNN, but got {type(detector).__name__}. Cure: background_loss.register(...)."
    )


@background_loss.register
def _(detector: RetinaNet, outputs: RawOutputs) -> Tensor:
    """P(background) = Π_k (1 - σ(z_k)), so that -log P = Σ_k softplus(z_k)."""
    logits, _ = detector.rows(outputs)
    return F.softplus(logits).sum(-1).mean()


@background_loss.register
def _(detector: SSD, outputs: RawOutputs) -> Tensor:
    """Softmax over K classes and the background, the last."""
    logits, _ = detector.rows(outputs)
    return -torch.log_softmax(logits, -1)[..., -1].mean()


@background_loss.register
def _(detector: FasterRCNN, outputs: RawOutputs) -> Tensor:
    """Of anchors by objectness, 1 - σ(z), plus of proposals with an area by the box head's softmax."""
    objectness = torch.cat(rows(outputs["objectness"], 1), dim=1).float()
    (proposals,) = outputs["proposals"]
    found: RawOutputs = detector.box_head(detector.region_features(outputs, proposals))
    (logits,) = rows(found["cls_logits"], detector.num_classes + 1)
    solid = (proposals[..., 2:] > proposals[..., :2]).all(-1)
    background = -torch.log_softmax(logits.float(), -1)[..., -1]
    return F.softplus(objectness).mean() + (background * solid).sum() / solid.sum().clamp(min=1)
