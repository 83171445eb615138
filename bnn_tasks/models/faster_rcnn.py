"""Faster R-CNN on a pyramid: every part real or binary by choice (Ren et al., 2015; Lin et al., FPN, 2017)."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn_tasks.backbones import Backbone
from bnn_tasks.models.anchors import DELTA_CLIP, Anchors, decode, rows
from bnn_tasks.models.box_head import BoxHead, TwoLayerBoxHead
from bnn_tasks.models.box_losses import BoxLoss, SmoothL1BoxLoss
from bnn_tasks.models.box_sampling import UNCOUNTED, RegionSampler
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
from bnn_tasks.models.proposals import Candidates, Proposals
from bnn_tasks.models.roi import PyramidRoIAlign
from bnn_tasks.models.rpn import RPNLoss
from bnn_tasks.models.rpn_head import RPNHead
from bnn_tasks.models.suppression import check_suppression, suppressed
from bnn_tasks.models.target_check import check_targets

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the second stage's deltas: the inverse of their spread (Girshick, Fast R-CNN)


class FasterRCNN(Detector):
    """Two stages: a dense network proposes regions, a head on each region's features names it and corrects its box.

    ``forward`` ends with the proposals: ``features``, the maps that regions are read from; ``objectness`` and ``rpn_deltas``,
    see `RPNHead.forward`; ``proposals``, one (N, R, 4) tensor, xyxy. ``loss`` runs the box head on sampled regions, ``decode``
    on all proposals.

    Args:
        num_classes: K >= 1.
        backbone: image -> feature maps, whose strides double.
        neck: channels of the backbone's maps -> pyramid; regions are read from its first levels, one for each of those maps,
            the region proposal network reads the further ones too.
        rpn_head: (channels, levels, anchors) -> dense head.
        box_head: (channels, positions a side, num_classes) -> head on regions' features.
        roi_align: strides -> features of regions.
        proposals: how regions are chosen; None is `Proposals` with its defaults.
        rpn_loss: None is `RPNLoss` with its defaults.
        sampler: which regions the box head learns from; None is `RegionSampler` with its defaults.
        box_loss: of the box head; None is `SmoothL1BoxLoss` with its defaults.
        box_weight: of the box head's box loss.
        anchor_scale: anchor size at a level in units of its stride; 8 is the pyramid paper's (32 px at stride 4).
        ratios: height / width of the anchors.
        score_threshold: detections below are dropped, in [0, 1).
        nms_threshold: of two detections of one class with a higher IoU the weaker is dropped, in [0, 1].
        top_k: detections kept before NMS.
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
        rpn_head: Callable[[int, int, int], RPNHead] = RPNHead,
        box_head: Callable[[int, int, int], BoxHead] = TwoLayerBoxHead,
        roi_align: Callable[[Sequence[int]], PyramidRoIAlign] = PyramidRoIAlign,
        proposals: Proposals | None = None,
        rpn_loss: RPNLoss | None = None,
        sampler: RegionSampler | None = None,
        box_loss: BoxLoss | None = None,
        box_weight: float = 1.0,
        anchor_scale: float = 8.0,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
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
        check_suppression(score_threshold, nms_threshold, top_k, max_detections)
        self.num_classes = num_classes
        self.normalize = Normalize() if normalize is None else normalize
        self.backbone = backbone
        self.neck = neck(backbone.feature_info.channels())
        self.roi_align = roi_align(backbone.feature_info.reduction())
        strides = self.neck.strides(backbone.feature_info.reduction())
        self.feature_channels, self.feature_strides = [self.neck.channels] * self.neck.levels, strides
        self.anchors = Anchors(strides, [[anchor_scale * stride] for stride in strides], ratios)
        self.rpn_head = rpn_head(self.neck.channels, self.neck.levels, self.anchors.per_position)
        self.box_head = box_head(self.neck.channels, self.roi_align.output_size, num_classes)
        check_every_size(self)
        self.proposals = Proposals() if proposals is None else proposals
        self.rpn_loss = RPNLoss() if rpn_loss is None else rpn_loss
        self.sampler = RegionSampler() if sampler is None else sampler
        self.box_loss = SmoothL1BoxLoss() if box_loss is None else box_loss
        self.box_weight = box_weight
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.top_k, self.max_detections = top_k, max_detections

    def features(self, images: Tensor) -> list[Tensor]:
        """The pyramid."""
        pyramid: list[Tensor] = self.neck(self.backbone(self.normalize(images)))
        return pyramid

    def predict(self, features: list[Tensor]) -> RawOutputs:
        """``features`` that regions are read from, ``objectness`` and ``rpn_deltas``."""
        return {"features": features[: len(self.roi_align.strides)], **self.rpn_head(features)}

    @torch.no_grad()
    def candidates(self, outputs: RawOutputs, size: tuple[int, int]) -> list[Candidates]:
        """What proposals are chosen from, one `Candidates` an image.

        Args:
            outputs: what ``predict`` returned.
            size: (H, W) of the images.
        """
        anchors = [x.float() for x in self.anchors(outputs["objectness"])]
        logits = [x.float().flatten(1) for x in rows(outputs["objectness"], 1)]
        deltas = [x.float() for x in rows(outputs["rpn_deltas"], 4)]
        return [
            self.proposals.candidates(anchors, [x[i] for x in logits], [x[i] for x in deltas], size)
            for i in range(len(logits[0]))
        ]

    def raw_outputs(self, features: list[Tensor], size: tuple[int, int]) -> RawOutputs:
        """``predict``, and ``proposals``; no gradient goes through them (Ren et al., 2015, §3.2)."""
        outputs = self.predict(features)
        chosen = [self.proposals.choose(candidates) for candidates in self.candidates(outputs, size)]
        return outputs | {"proposals": [torch.stack(chosen)]}

    def region_features(self, outputs: RawOutputs, boxes: Tensor) -> Tensor:
        """What the box head reads, (N, s·s·C, R, 1).

        Args:
            outputs: what ``forward`` returned.
            boxes: (N, R, 4) xyxy, the regions.
        """
        return self.roi_align(outputs["features"], boxes)

    def loss(self, outputs: RawOutputs, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """``rpn_cls`` and ``rpn_box``, see `RPNLoss`; ``cls``, cross-entropy, and ``box``, both per sampled region.

        Raises:
            ValueError: not one target an image, or a label that is no class.
        """
        check_targets(targets, len(outputs["objectness"][0]), self.num_classes)
        logits = torch.cat(rows(outputs["objectness"], 1), dim=1)[..., 0].float()
        deltas = torch.cat(rows(outputs["rpn_deltas"], 4), dim=1).float()
        losses = self.rpn_loss(torch.cat(self.anchors(outputs["objectness"])), logits, deltas, targets)
        regions = self.sampler(outputs["proposals"][0], targets, self.num_classes)
        found: RawOutputs = self.box_head(self.region_features(outputs, regions.boxes))
        (class_logits,), (box_deltas,) = rows(found["cls_logits"], self.num_classes + 1), rows(found["box_deltas"], 4)
        cls = F.cross_entropy(
            class_logits.float().flatten(0, 1), regions.labels.flatten(), ignore_index=UNCOUNTED, reduction="sum"
        )
        counted = (regions.labels != UNCOUNTED).sum().clamp(min=1)
        positive = (regions.labels != UNCOUNTED) & (regions.labels < self.num_classes)
        box = self.box_loss(
            box_deltas.float()[positive], regions.boxes[positive], regions.objects[positive], BOX_WEIGHTS
        )
        return losses | {"cls": cls / counted, "box": self.box_weight * box / counted}

    def decode(self, outputs: RawOutputs, size: tuple[int, int]) -> list[Boxes]:
        """The box head on every proposal, then `detections`."""
        proposals = outputs["proposals"][0]
        return self.detections(proposals, self.box_head(self.region_features(outputs, proposals)), size)

    def detections(self, proposals: Tensor, found: RawOutputs, size: tuple[int, int]) -> list[Boxes]:
        """Boxes corrected, scored by softmax; then `suppressed`.

        Args:
            proposals: (N, R, 4) xyxy.
            found: what the box head returned for them.
            size: (H, W) of the images.
        """
        (logits,), (deltas,) = rows(found["cls_logits"], self.num_classes + 1), rows(found["box_deltas"], 4)
        return [
            suppressed(
                [torch.softmax(image_logits.float(), dim=1)[:, :-1]],
                [decode(image_deltas.float(), image_proposals, BOX_WEIGHTS)],
                size,
                self.score_threshold,
                self.nms_threshold,
                self.top_k,
                self.max_detections,
            )
            for image_logits, image_deltas, image_proposals in zip(logits, deltas, proposals, strict=True)
        ]

    def export_graph(self) -> list[DecodeNode | StageNode]:
        """Anchors, proposals, RoIAlign, the box head, box decoding, NMS."""
        levels = range(self.neck.levels)
        logits, deltas = [f"objectness.{i}" for i in levels], [f"rpn_deltas.{i}" for i in levels]
        features = [f"features.{i}" for i in range(len(self.roi_align.strides))]
        return [
            DecodeNode(
                "anchors",
                logits,
                ["anchors"],
                {"strides": [[s, s] for s in self.anchors.strides]},
                {"base": self.anchors.base},
            ),
            self.proposals.node(["anchors", *logits, *deltas], "proposals"),
            self.roi_align.node(["proposals", *features], "regions"),
            StageNode("box_head", "regions", ["region_logits", "region_deltas"]),
            DecodeNode(
                "decode_boxes",
                ["proposals", "region_deltas"],
                ["decoded"],
                {"weights": list(BOX_WEIGHTS), "clip": DELTA_CLIP},
            ),
            DecodeNode(
                "nms_softmax",
                ["decoded", "region_logits"],
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
