"""The last step of every detector: from scored boxes to detections."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from bnn_tasks.models.detector import Boxes


def check_suppression(score_threshold: float, nms_threshold: float, top_k: int, max_detections: int) -> None:
    """Raise ValueError unless what a detector keeps of its detections is within range.

    Args:
        score_threshold: in [0, 1).
        nms_threshold: IoU in [0, 1].
        top_k: >= 1.
        max_detections: >= 1.
    """
    if not 0 <= score_threshold < 1 or not 0 <= nms_threshold <= 1 or min(top_k, max_detections) < 1:
        raise ValueError(
            "Expected `score_threshold` in [0, 1), `nms_threshold` in [0, 1], `top_k` and `max_detections` >= 1, but "
            f"got {score_threshold}, {nms_threshold}, {top_k}, {max_detections}."
        )


def suppressed(
    scores: Sequence[Tensor],
    boxes: Sequence[Tensor],
    size: tuple[int, int],
    score_threshold: float,
    nms_threshold: float,
    top_k: int,
    max_detections: int,
) -> Boxes:
    """The best scores of every level, clipped to the image, thinned by NMS per class.

    A box without area within the image, such as one that fills up a list of proposals, is no detection. Equal scores keep
    the order level, box, class.

    Args:
        scores: (M_l, K) float32 a level.
        boxes: (M_l, 4) a level, xyxy in pixels; float64 in a net of that type.
        size: (H, W) of the image.
        score_threshold: a score must be above it.
        nms_threshold: of two detections of one class with a higher IoU the weaker is dropped.
        top_k: detections kept a level before NMS.
        max_detections: detections kept.
    """
    found_boxes, found_scores, found_labels = [], [], []
    for level_scores, level_boxes in zip(scores, boxes, strict=True):
        within = clip_boxes_to_image(level_boxes.float(), size)
        solid = (within[:, 2:] > within[:, :2]).all(dim=1, keepdim=True)
        kept = torch.nonzero(((level_scores > score_threshold) & solid).flatten()).flatten()
        flat = level_scores.flatten()
        kept = kept[torch.sort(flat[kept], descending=True, stable=True).indices[:top_k]]
        found_boxes.append(within[kept // level_scores.shape[1]])
        found_scores.append(flat[kept])
        found_labels.append(kept % level_scores.shape[1])
    all_boxes, all_scores, all_labels = torch.cat(found_boxes), torch.cat(found_scores), torch.cat(found_labels)
    chosen = batched_nms(all_boxes, all_scores, all_labels, nms_threshold)[:max_detections]
    return Boxes(all_boxes[chosen], all_scores[chosen], all_labels[chosen])
