"""RetinaNet: backbone, pyramid and towers each real or binary by choice (Lin et al., Focal Loss, 2017)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from bnn_tasks.backbones import Backbone
from bnn_tasks.models.anchors import BACKGROUND, DELTA_CLIP, Anchors, decode, in_crowd, match
from bnn_tasks.models.anchors import rows as level_rows
from bnn_tasks.models.detector import (
    Boxes,
    BoxTarget,
    DecodeNode,
    Detector,
    Normalize,
    RawOutputs,
    StageNode,
    check_every_size,
)
from bnn_tasks.models.fpn import FPN
from bnn_tasks.models.retinanet_head import RetinaNetHead
from bnn_tasks.models.suppression import check_suppression, suppressed
from bnn_tasks.models.target_check import check_targets

OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # three anchor scales a level (Lin et al., 2017, §4)


class RetinaNet(Detector):
    """Dense one-stage detector with focal loss and GIoU loss.

    Args:
        num_classes: K >= 1.
        backbone: image -> feature maps.
        neck: channels of the backbone's maps -> pyramid.
        head: (channels, levels, anchors, num_classes) -> towers.
        anchor_scale: anchor size at a level in units of its stride; 4 is the paper's (32 px at stride 8).
        ratios: height / width of the anchors.
        foreground: IoU from which an anchor is an object's, in (0, 1]; the paper's 0.5.
        background: IoU below which it is background, in [0, foreground]; the paper's 0.4.
        box_weight: weight of the box loss; 2 is mmdetection's for GIoU.
        score_threshold: detections below are dropped, in [0, 1).
        nms_threshold: of two detections of one class with a higher IoU the weaker is dropped, in [0, 1].
        top_k: detections kept a level before NMS.
        max_detections: detections kept an image; COCO counts 100.
        normalize: the model's first node.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        neck: Callable[[Sequence[int]], FPN] = FPN,
        head: Callable[[int, int, int, int], RetinaNetHead] = RetinaNetHead,
        anchor_scale: float = 4.0,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        foreground: float = 0.5,
        background: float = 0.4,
        box_weight: float = 2.0,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        top_k: int = 1000,
        max_detections: int = 100,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"Expected `num_classes` to be >= 1, but got {num_classes}.")
        if not 0 < anchor_scale < math.inf:
            raise ValueError(f"Expected `anchor_scale` to be > 0, finite, but got {anchor_scale}.")
        if not 0 <= background <= foreground <= 1:
            raise ValueError(f"Expected 0 <= `background` <= `foreground` <= 1, but got {background}, {foreground}.")
        check_suppression(score_threshold, nms_threshold, top_k, max_detections)
        self.num_classes = num_classes
        self.normalize = Normalize() if normalize is None else normalize
        self.backbone = backbone
        self.neck = neck(backbone.feature_info.channels())
        strides = self.neck.strides(backbone.feature_info.reduction())
        self.anchors = Anchors(strides, [[anchor_scale * s * octave for octave in OCTAVES] for s in strides], ratios)
        self.feature_channels, self.feature_strides = [self.neck.channels] * self.neck.levels, strides
        self.head = head(self.neck.channels, self.neck.levels, self.anchors.per_position, num_classes)
        check_every_size(self)
        self.foreground, self.background, self.box_weight = foreground, background, box_weight
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.top_k, self.max_detections = top_k, max_detections

    def features(self, images: Tensor) -> list[Tensor]:
        """The pyramid."""
        pyramid: list[Tensor] = self.neck(self.backbone(self.normalize(images)))
        return pyramid

    def predict(self, features: list[Tensor]) -> RawOutputs:
        """``cls_logits`` and ``box_deltas`` of every level; see `RetinaNetHead.forward`."""
        outputs: RawOutputs = self.head(features)
        return outputs

    def rows(self, outputs: RawOutputs) -> tuple[Tensor, Tensor]:
        """Logits (N, M, K) and deltas (N, M, 4) of all M anchors, in the anchors' order, in float32.

        Args:
            outputs: what ``forward`` returned.
        """
        logits = torch.cat(level_rows(outputs["cls_logits"], self.num_classes), dim=1).float()
        return logits, torch.cat(level_rows(outputs["box_deltas"], 4), dim=1).float()

    def loss(self, outputs: RawOutputs, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Focal loss of all anchors and GIoU loss of those assigned to objects, both per assigned anchor.

        Anchors whose best object is to be ignored count for neither, nor do those that would be background, but have a share
        of at least ``background`` of their area in a crowd.

        Raises:
            ValueError: not one target an image, or a label that is no class.
        """
        check_targets(targets, len(outputs["cls_logits"][0]), self.num_classes)
        anchors = torch.cat(self.anchors(outputs["cls_logits"]))
        logits, deltas = self.rows(outputs)
        wanted = torch.zeros_like(logits)
        counted = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        images, rows, boxes = [], [], []
        for index, target in enumerate(targets):
            if len(target.boxes) == 0:
                continue
            assigned = match(box_iou(target.boxes, anchors), self.foreground, self.background)
            crowded = in_crowd(anchors, target.boxes[target.crowd], self.background)
            counted[index] = (assigned > BACKGROUND) | (assigned == BACKGROUND) & ~crowded
            found = torch.nonzero(assigned > BACKGROUND).flatten()
            ignored = target.ignore[assigned[found]]
            counted[index, found[ignored]] = False
            found = found[~ignored]
            wanted[index, found, target.labels[assigned[found]]] = 1
            images.append(torch.full_like(found, index))
            rows.append(found)
            boxes.append(target.boxes[assigned[found]])
        focal = sigmoid_focal_loss(logits[counted], wanted[counted], reduction="sum")
        positives = sum(len(r) for r in rows)
        if positives == 0:
            return {"cls": focal, "box": deltas.sum() * 0}
        image, row = torch.cat(images), torch.cat(rows)
        giou = generalized_box_iou_loss(decode(deltas[image, row], anchors[row]), torch.cat(boxes), reduction="sum")
        return {"cls": focal / positives, "box": self.box_weight * giou / positives}

    def decode(self, outputs: RawOutputs, size: tuple[int, int]) -> list[Boxes]:
        """Boxes decoded, scored by sigmoid; then `suppressed`."""
        anchors = self.anchors(outputs["cls_logits"])
        logits = level_rows(outputs["cls_logits"], self.num_classes)
        deltas = level_rows(outputs["box_deltas"], 4)
        return [
            suppressed(
                [torch.sigmoid(x[i].float()) for x in logits],
                [decode(x[i].float(), level) for x, level in zip(deltas, anchors, strict=True)],
                size,
                self.score_threshold,
                self.nms_threshold,
                self.top_k,
                self.max_detections,
            )
            for i in range(len(logits[0]))
        ]

    def export_graph(self) -> list[DecodeNode | StageNode]:
        """Anchors, box decoding, NMS."""
        levels = range(self.neck.levels)
        logits, deltas = [f"cls_logits.{i}" for i in levels], [f"box_deltas.{i}" for i in levels]
        return [
            DecodeNode(
                "anchors",
                logits,
                ["anchors"],
                {"strides": [[s, s] for s in self.anchors.strides]},
                {"base": self.anchors.base},
            ),
            DecodeNode(
                "decode_boxes",
                ["anchors", *deltas],
                ["decoded"],
                {"weights": [1.0, 1.0, 1.0, 1.0], "clip": DELTA_CLIP},
            ),
            DecodeNode(
                "nms",
                ["decoded", *logits],
                ["boxes", "scores", "labels"],
                {
                    "num_classes": self.num_classes,
                    "score_threshold": self.score_threshold,
                    "iou_threshold": self.nms_threshold,
                    "top_k": self.top_k,
                    "max_detections": self.max_detections,
                },
            ),
        ]
