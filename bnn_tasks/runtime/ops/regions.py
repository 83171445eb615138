"""What a two-stage detector has between its stages: proposals, and the features under them."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Boxes, FloatMap, Kind, agree
from bnn_tasks.runtime.ops.attrs import MAX_WINDOW, Integer, Many, Real
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Tensors, float_map
from bnn_tasks.runtime.ops.boxes import (
    CODING,
    MAX_CANDIDATES,
    MAX_LEVELS,
    count_boxes,
    expect_boxes,
    expect_candidates,
    refuse_nan,
)
from bnn_tasks.runtime.proposals import propose
from bnn_tasks.runtime.resize import MAX_SIDE
from bnn_tasks.runtime.roi_align import roi_align

CANONICAL_LEVELS = 64  # a box of any size is then far above or below the pyramid


class Proposals(Op):
    """Inputs: anchors, then objectness maps (A, H, W), then delta maps (A·4, H, W), one for each level."""

    attrs: ClassVar = {
        **CODING,
        "top_k": Integer(1, MAX_CANDIDATES),
        "iou_threshold": Real(0, 1),
        "min_size": Real(0, MAX_SIDE),
        "max_proposals": Integer(1, MAX_SIDE),
    }
    arity = (3, 1 + 2 * MAX_LEVELS)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Anchors and maps to boxes."""
        maps = [float_map(kind) for kind in inputs[1:]]
        levels = len(maps) // 2
        if len(maps) != 2 * levels:
            raise GraphError(f"Expected as many delta maps as objectness maps, but got {len(maps)} maps.")
        for logits, deltas in zip(maps[:levels], maps[levels:], strict=True):
            same = agree(logits.height, deltas.height) and agree(logits.width, deltas.width)
            if not same or deltas.channels != 4 * logits.channels:
                raise GraphError(f"Expected four deltas for every objectness logit, but got {logits} and {deltas}.")
        expect_candidates(attrs, levels)
        expect_boxes(inputs[0], count_boxes(maps[:levels], 1))
        return [Boxes(attrs["max_proposals"])]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Select, decode, suppress."""
        refuse_nan(inputs[1:], "objectness logits and deltas")
        levels = len(inputs) // 2
        canvas = (context.height, context.width)
        return [propose(inputs[0], inputs[1 : 1 + levels], inputs[1 + levels :], **attrs, canvas=canvas)]


class RoiAlign(Op):
    """Inputs: R boxes, then one feature map (C, H, W) for each level.

    Output: (s·s·C, R, 1), channel (y·s + x)·C + c, so that a fully connected layer is a 1 × 1 convolution.
    """

    attrs: ClassVar = {
        "strides": Many(Real(1 / 1024, 8192), 1, MAX_LEVELS),
        "output_size": Integer(1, MAX_WINDOW),
        "sampling_ratio": Integer(1, 16),
        "canonical_level": Integer(-CANONICAL_LEVELS, CANONICAL_LEVELS),
        "canonical_size": Real(1 / 1024, MAX_SIDE),
    }
    arity = (2, 1 + MAX_LEVELS)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Boxes and maps to a map of one column."""
        boxes, maps = inputs[0], [float_map(kind) for kind in inputs[1:]]
        if not isinstance(boxes, Boxes):
            raise GraphError(f"Expected boxes as first input, but got {boxes}.")
        if len(maps) != len(attrs["strides"]):
            raise GraphError(f"Expected {len(attrs['strides'])} feature maps (`strides`), but got {len(maps)}.")
        channels = maps[0].channels
        if any(level.channels != channels for level in maps):
            raise GraphError(f"Expected maps of one channel count, but got {[level.channels for level in maps]}.")
        return [FloatMap(attrs["output_size"] ** 2 * channels, boxes.count, 1)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Sample."""
        refuse_nan(inputs[:1], "boxes")
        features = roi_align(inputs[0], inputs[1:], **attrs)
        return [features.reshape(len(features), 1, -1)]

    def cost(self, inputs: Sequence[Kind], outputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> int:
        """Reads: four corners of every sample."""
        return outputs[0].nbytes * attrs["sampling_ratio"] ** 2
