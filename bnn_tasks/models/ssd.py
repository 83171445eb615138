"""SSD: default boxes on six maps, softmax with background, hard negatives (Liu et al., Single Shot MultiBox Detector, 2016)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from bnn_tasks.backbones import Backbone
from bnn_tasks.models.anchors import BACKGROUND, DELTA_CLIP, decode, encode, in_crowd, rows
from bnn_tasks.models.default_boxes import RATIOS, SCALES, DefaultBoxes, match_default_boxes
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
from bnn_tasks.models.l2_norm import L2Norm
from bnn_tasks.models.single_value_norm import allow_single_values
from bnn_tasks.models.ssd_extras import SSDExtras
from bnn_tasks.models.ssd_head import SSDHead, SSDPredictors
from bnn_tasks.models.suppression import check_suppression, suppressed
from bnn_tasks.models.target_check import check_targets

WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # deltas are predicted over the variances 0.1, 0.1, 0.2, 0.2 of the authors' code


class SSD(Detector):
    """One-stage detector on the backbone's maps and four further ones; SSD300 with `VGG16` and the defaults.

    Backbone, `extras` and `head` are each real or binary by choice. Real in any case are `L2Norm` on the finest map and, with
    `SSDHead`, the predictors: the net is binary throughout only with `UnitSSDHead`. Maps are a unit's signed outputs; where the
    paper's have passed a ReLU, nothing stands here, so that binary layers get both signs.

    Args:
        num_classes: K >= 1; the background is a further logit inside.
        backbone: image -> feature maps, fine to coarse.
        extras: channels of the backbone's last map -> further maps.
        head: (channels, boxes a position, num_classes) -> predictors.
        input_size: (height, width) in pixels that the default boxes are laid out for: scales are shares of its shorter side,
            and the maps without padding are spread over it. Images of other sizes, from 257 px a side, are legal while
            these maps have no more positions than for it: up to 320 px a side for 300.
        scales: s_k over the input's side, one a map and one more, > 0; the paper's for VOC by default.
        ratios: width / height of the boxes that are no squares, one list a map.
        foreground: IoU from which a default box is an object's, in (0, 1]; the paper's 0.5.
        negatives: background boxes that count for every positive one, >= 0; the paper's 3.
        box_weight: weight of the box loss; the paper's 1.
        score_threshold: detections below are dropped, in [0, 1); the paper's 0.01.
        nms_threshold: of two detections of one class with a higher IoU the weaker is dropped, in [0, 1]; the paper's 0.45.
        top_k: detections kept a map before NMS.
        max_detections: detections kept an image; the paper's 200.
        normalize: the model's first node.

    Raises:
        ValueError: an argument is out of range, or the lists do not fit the maps.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: Backbone,
        extras: Callable[[int], SSDExtras] = SSDExtras,
        head: Callable[[Sequence[int], Sequence[int], int], SSDPredictors] = SSDHead,
        input_size: tuple[int, int] = (300, 300),
        scales: Sequence[float] = SCALES,
        ratios: Sequence[Sequence[float]] = RATIOS,
        foreground: float = 0.5,
        negatives: float = 3.0,
        box_weight: float = 1.0,
        score_threshold: float = 0.01,
        nms_threshold: float = 0.45,
        top_k: int = 1000,
        max_detections: int = 200,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"Expected `num_classes` to be >= 1, but got {num_classes}.")
        if not 0 < foreground <= 1 or not negatives >= 0:
            raise ValueError(f"Expected `foreground` in (0, 1], `negatives` >= 0, but got {foreground}, {negatives}.")
        check_suppression(score_threshold, nms_threshold, top_k, max_detections)
        self.num_classes = num_classes
        self.normalize = Normalize() if normalize is None else normalize
        self.backbone = backbone
        channels, strides = list(backbone.feature_info.channels()), list(backbone.feature_info.reduction())
        self.l2_norm = L2Norm(channels[0])
        self.extras = extras(channels[-1])
        self.feature_channels = [*channels, *self.extras.channels]
        self.feature_strides = [*strides, *(strides[-1] * factor for factor in self.extras.strides)]
        self.smallest = strides[-1] * (self.extras.smallest - 1) + 1
        if min(input_size) < self.smallest:
            raise ValueError(f"Expected `input_size` to be >= {self.smallest} px a side, but got {tuple(input_size)}.")
        self.last_map = tuple(self.extras.sides(-(-side // strides[-1]))[-1] for side in input_size)
        self.default_boxes = DefaultBoxes(
            self._steps(input_size), [scale * min(input_size) for scale in scales], ratios
        )
        self.head = head(self.feature_channels, self.default_boxes.per_position, num_classes)
        for part in (self.extras, self.head):
            allow_single_values(part)
        check_every_size(self)
        self.foreground, self.negatives, self.box_weight = foreground, negatives, box_weight
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.top_k, self.max_detections = top_k, max_detections

    def _steps(self, input_size: tuple[int, int]) -> list[tuple[float, float]]:
        """Pixels between the default boxes of every map: its stride, or what spreads an unpadded map over the input."""
        last = self.backbone.feature_info.reduction()[-1]
        steps: list[tuple[float, float]] = [(s, s) for s in self.backbone.feature_info.reduction()]
        rows, columns = (self.extras.sides(-(-side // last)) for side in input_size)
        for stride, padded, h, w in zip(self.extras.strides, self.extras.padded, rows, columns, strict=True):
            spread = (input_size[0] / h, input_size[1] / w)
            steps.append((last * stride, last * stride) if padded else spread)
        return steps

    def features(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps, the finest of them normalised by `L2Norm`, and those of ``extras``.

        Args:
            images: (N, 3, H, W) RGB in [0, 1]; H, W >= 257 for a last map of stride 16.

        Raises:
            ValueError: the images are smaller.
        """
        maps = self.backbone(self.normalize(images))
        try:
            further = self.extras(maps[-1])
        except RuntimeError as error:
            if min(images.shape[-2:]) >= self.smallest:
                raise
            raise ValueError(
                f"Expected images of >= {self.smallest} px a side, since SSD's last layers do not pad, but got "
                f"{tuple(images.shape[-2:])}. Cure: larger `sizes` of the data."
            ) from error
        return [self.l2_norm(maps[0]), *maps[1:], *further]

    def predict(self, features: list[Tensor]) -> RawOutputs:
        """``cls_logits`` and ``box_deltas`` of every map; see `SSDPredictors.forward`."""
        outputs: RawOutputs = self.head(features)
        return outputs

    def raw_outputs(self, features: list[Tensor], size: tuple[int, int]) -> RawOutputs:
        """``predict``.

        Args:
            features: what ``features`` returned.
            size: (H, W) of the images.

        Raises:
            ValueError: boxes of the unpadded maps would lie off the images.
        """
        height, width = features[-1].shape[-2:]
        if height > self.last_map[0] or width > self.last_map[1]:
            raise ValueError(
                f"Expected images whose last map has at most {self.last_map[0]}×{self.last_map[1]} positions, as `input_size` "
                f"has, since further default boxes lie off the image, but got {height}×{width} at {tuple(size)} px. "
                "Cure: an `input_size` of at least the height and width of the images."
            )
        return self.predict(features)

    def rows(self, outputs: RawOutputs) -> tuple[Tensor, Tensor]:
        """Logits (N, M, K+1) and deltas (N, M, 4) of all M default boxes, in their order, in float32.

        Args:
            outputs: what ``forward`` returned.
        """
        logits = torch.cat(rows(outputs["cls_logits"], self.num_classes + 1), dim=1).float()
        return logits, torch.cat(rows(outputs["box_deltas"], 4), dim=1).float()

    def loss(self, outputs: RawOutputs, targets: Sequence[BoxTarget]) -> dict[str, Tensor]:
        """Cross-entropy of positive boxes and hard negatives, and smooth L1 of the positive ones' deltas, per positive box.

        The hard negatives of an image are the ``negatives`` · positives background boxes of highest loss (§2.2). Boxes of
        objects to be ignored count for neither, nor do background boxes that have a share of at least ``foreground`` of their
        area in a crowd. An image without objects has no negatives, as in the paper.

        Raises:
            ValueError: not one target an image, or a label that is no class.
        """
        check_targets(targets, len(outputs["cls_logits"][0]), self.num_classes)
        boxes = torch.cat(self.default_boxes(outputs["cls_logits"]))
        logits, deltas = self.rows(outputs)
        wanted = torch.full(logits.shape[:2], self.num_classes, device=logits.device)
        counted = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        distance = deltas.sum() * 0
        for index, target in enumerate(targets):
            assigned = match_default_boxes(box_iou(target.boxes, boxes), target.ignore, self.foreground)
            found = torch.nonzero(assigned > BACKGROUND).flatten()
            ignored = target.ignore[assigned[found]]
            counted[index] = ~in_crowd(boxes, target.boxes[target.crowd], self.foreground)
            counted[index, found[ignored]] = False
            found = found[~ignored]
            wanted[index, found] = target.labels[assigned[found]]
            goal = encode(target.boxes[assigned[found]], boxes[found], WEIGHTS)
            distance = distance + F.smooth_l1_loss(deltas[index, found], goal, reduction="sum")
        entropy = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        positive = wanted < self.num_classes
        hardness = entropy.detach().masked_fill(positive | ~counted, -1.0)  # an entropy is >= 0
        rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        hard = (rank < self.negatives * positive.sum(dim=1, keepdim=True)) & (hardness >= 0)
        count = positive.sum().clamp(min=1)
        return {"cls": entropy[positive | hard].sum() / count, "box": self.box_weight * distance / count}

    def decode(self, outputs: RawOutputs, size: tuple[int, int]) -> list[Boxes]:
        """Boxes decoded, scored by softmax; then `suppressed`."""
        anchors = self.default_boxes(outputs["cls_logits"])
        logits, deltas = rows(outputs["cls_logits"], self.num_classes + 1), rows(outputs["box_deltas"], 4)
        return [
            suppressed(
                [torch.softmax(x[i].float(), dim=1)[:, : self.num_classes] for x in logits],
                [decode(x[i].float(), level, WEIGHTS) for x, level in zip(deltas, anchors, strict=True)],
                size,
                self.score_threshold,
                self.nms_threshold,
                self.top_k,
                self.max_detections,
            )
            for i in range(len(logits[0]))
        ]

    def export_graph(self) -> list[DecodeNode | StageNode]:
        """Default boxes of each map, joined; box decoding, NMS."""
        levels = range(len(self.feature_channels))
        logits, deltas = [f"cls_logits.{i}" for i in levels], [f"box_deltas.{i}" for i in levels]
        laid = [f"default_boxes.{i}" for i in levels]
        nodes: list[DecodeNode | StageNode] = [
            DecodeNode(
                "anchors",
                [logits[i]],
                [laid[i]],
                {"strides": [list(self.default_boxes.strides[i])]},
                {"base": self.default_boxes.base(i)[None]},
            )
            for i in levels
        ]
        nodes += [
            DecodeNode("join_boxes", laid, ["default_boxes"]),
            DecodeNode(
                "decode_boxes",
                ["default_boxes", *deltas],
                ["decoded"],
                {"weights": list(WEIGHTS), "clip": DELTA_CLIP},
            ),
            DecodeNode(
                "nms_softmax",
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
        return nodes
