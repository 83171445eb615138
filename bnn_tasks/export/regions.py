"""Prove that an artifact's second stage is the module's: the regions it chose, their features, the head on them.

A box that overlaps a better one by just the threshold of NMS is kept on one side and dropped on the other for a rounding, and
with it those that it suppresses: two lists of regions may differ although both are right. So the runtime's list is not
compared with torch's, but walked through: given what it kept before, each candidate must be kept or dropped as it was, unless
it is as near to a threshold as rounding reaches. The second stage then runs on the runtime's regions in both.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bnn_tasks.export.builder import ParityError
from bnn_tasks.export.rounding import output_error
from bnn_tasks.models import FasterRCNN, Proposals, RawOutputs
from bnn_tasks.models.proposals import Candidates

# Pixels by which two roundings of one box may differ: some units in the last place of a float32 at 1000 px.
BOX_TOLERANCE = 1e-2
IOU_TOLERANCE = 1e-3  # what that makes of the IoU of boxes of some ten pixels


def runtime_regions(values: Mapping[str, np.ndarray], names: Mapping[str, str]) -> tuple[Tensor, RawOutputs]:
    """The runtime's proposals, (1, R, 4), and what its box head made of them, as the module returns it.

    Args:
        values: of one image, from ``Session.values``.
        names: of the graph's values, from `GraphWriter`.
    """
    proposals, logits, deltas = (
        torch.from_numpy(values[names[name]])[None] for name in ("proposals", "region_logits", "region_deltas")
    )
    return proposals, {"cls_logits": [logits], "box_deltas": [deltas]}


def check_second_stage(
    model: FasterRCNN,
    outputs: RawOutputs,
    values: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    size: tuple[int, int],
) -> float:
    """Compare regions, their features and the box head's outputs for one image.

    Args:
        model: with the runtime's planes forced into its layers.
        outputs: of its ``forward`` on the image.
        values: of the runtime, from ``Session.values``.
        names: of the graph's values, from `GraphWriter`.
        size: (H, W) of the image.

    Returns:
        The largest error, as `output_error`.

    Raises:
        ParityError: the runtime's regions could not be chosen, or what follows differs.
    """
    runtime = {
        key: [torch.from_numpy(values[names[f"{key}.{level}"]])[None] for level in range(len(outputs[key]))]
        for key in ("objectness", "rpn_deltas")
    }
    (candidates,) = model.candidates(runtime, size)
    boxes, found = runtime_regions(values, names)
    check_proposals(candidates, model.proposals, boxes[0].numpy())
    features = model.region_features(outputs, boxes)
    error = output_error(features, torch.from_numpy(values[names["regions"]])[None])
    wanted: RawOutputs = model.box_head(features)
    return max(error, *(output_error(wanted[name][0], found[name][0]) for name in found))


def check_proposals(candidates: Candidates, rule: Proposals, regions: np.ndarray) -> None:
    """Whether regions are what a rule may choose from candidates, but for rounding.

    Args:
        candidates: of one image, decoded by torch from the runtime's own maps.
        rule: how regions are chosen.
        regions: (R, 4) float32 xyxy, the runtime's.

    Raises:
        ParityError: a region should not be there, or one is missing.
    """
    order = torch.sort(candidates.logits, descending=True, stable=True).indices.numpy()
    boxes, levels = candidates.boxes.numpy()[order], candidates.levels.numpy()[order]
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if len(kept) == len(regions):
            break
        rivals = [other for other in kept if levels[other] == levels[index]]
        # How far inside both thresholds, in units of what rounding reaches: kept above 1, dropped below -1.
        inside = min(
            (sides[index] - rule.min_size) / BOX_TOLERANCE,
            (rule.nms_threshold - _overlap(box, boxes[rivals])) / IOU_TOLERANCE,
        )
        found = bool(np.abs(regions[len(kept)] - box).max() <= BOX_TOLERANCE)
        if inside > 1 and not found:
            raise ParityError(
                f"Expected proposal {len(kept)} to be {box.tolist()}, but the runtime's is {regions[len(kept)].tolist()}."
            )
        if found and inside >= -1:
            kept.append(index)
    if regions[len(kept) :].any():
        raise ParityError(
            f"Expected {len(kept)} proposals and rows of zeros, but the runtime goes on with {regions[len(kept)].tolist()}."
        )


def _overlap(box: np.ndarray, others: np.ndarray) -> float:
    """Largest IoU of a box with others; 0 with none."""
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = inner.clip(min=0).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    return float((shared / np.maximum(union, 1e-9)).max(initial=0.0))
