"""The last nodes of a detector: anchors, box decoding, suppression."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bnn_tasks.runtime import detection
from bnn_tasks.runtime.errors import GraphError
from bnn_tasks.runtime.kinds import Boxes, FloatMap, FoundBoxes, FoundLabels, FoundScores, Kind, Side, agree
from bnn_tasks.runtime.ops.attrs import Attr, Integer, Many, Real
from bnn_tasks.runtime.ops.base import Attrs, Context, Op, Role, Tensors, float_map

CODING: dict[str, Attr] = {  # of boxes as deltas
    "weights": Many(Real(1e-6, 1e6), 4, 4),
    "clip": Real(0, 80),  # 80: exp() stays in float32
}
MAX_LEVELS = 16
MAX_CANDIDATES = 20_000  # over all levels: suppression is quadratic


def _cells(level: FloatMap) -> Side:
    """Pixels of a level's map."""
    return None if level.height is None or level.width is None else level.height * level.width


def count_boxes(levels: Sequence[FloatMap], values: int) -> Side:
    """Boxes that all levels stand for, each taking `values` channels."""
    total = 0
    for level in levels:
        if level.channels % values:
            raise GraphError(f"Expected channels in multiples of {values}, but got {level.channels}.")
        cells = _cells(level)
        if cells is None:
            return None
        total += cells * (level.channels // values)
    return total


def expect_boxes(kind: Kind, count: Side) -> None:
    """Raise GraphError unless `kind` can be `count` boxes."""
    if not isinstance(kind, Boxes) or not agree(kind.count, count):
        raise GraphError(f"Expected {count} boxes, one for each cell and anchor of the maps, but got {kind}.")


def expect_candidates(attrs: Attrs, levels: int) -> None:
    """Raise GraphError where `top_k` of every level are more than `MAX_CANDIDATES`."""
    if attrs["top_k"] * levels > MAX_CANDIDATES:
        raise GraphError(f"Expected `top_k` × levels <= {MAX_CANDIDATES}, but got {attrs['top_k']} × {levels}.")


def refuse_nan(values: Sequence[np.ndarray], what: str) -> None:
    """Raise GraphError where one of the values is NaN; `what` says what they are."""
    if any(np.isnan(value).any() for value in values):
        raise GraphError(f"Expected {what} to be numbers, but some are NaN; look for it upstream.")


class Anchors(Op):
    """Anchors of the inputs' cells; only the inputs' sizes matter. base (levels, A, 4) xyxy around 0."""

    attrs: ClassVar = {"strides": Many(Many(Real(1 / 1024, 8192), 2, 2), 1, MAX_LEVELS)}
    roles: ClassVar = {"base": Role("float32", 3)}
    arity = (1, MAX_LEVELS)
    constant = True

    def check(self, attrs: Attrs, tensors: Tensors) -> None:
        """A stride and a set of boxes for each level."""
        shape = tensors["base"].shape
        if shape[0] != len(attrs["strides"]) or shape[1] < 1 or shape[2] != 4:
            raise GraphError(f"Expected tensor `base` of shape ({len(attrs['strides'])}, A >= 1, 4), but got {shape}.")

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Maps to boxes."""
        levels, per_level, _ = tensors["base"].shape
        if len(inputs) != levels:
            raise GraphError(f"Expected {levels} level maps (tensor `base`), but got {len(inputs)}.")
        total = 0
        for kind in inputs:
            cells = _cells(float_map(kind))
            if cells is None:
                return [Boxes(None)]
            total += cells * per_level
        return [Boxes(total)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Lay the anchors out."""
        sizes = [(x.shape[0], x.shape[1]) for x in inputs]
        return [detection.anchors(sizes, attrs["strides"], prepared["base"])]


class DecodeBoxes(Op):
    """Inputs: anchors, then delta maps (A·4, H, W), one for each level."""

    attrs: ClassVar = CODING
    arity = (2, 1 + MAX_LEVELS)

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Boxes stay boxes."""
        count = count_boxes([float_map(kind) for kind in inputs[1:]], 4)
        expect_boxes(inputs[0], count)
        return [Boxes(count)]

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Decode."""
        boxes = detection.decode_boxes(inputs[0], inputs[1:], attrs["weights"], attrs["clip"])
        refuse_nan([boxes], "decoded boxes")
        return [boxes]


class _Suppression(Op):
    """Inputs: boxes, then class logit maps, one for each level. Outputs: boxes, scores, labels."""

    attrs: ClassVar = {
        "num_classes": Integer(1, 100_000),
        "score_threshold": Real(0, 1),
        "top_k": Integer(1, MAX_CANDIDATES),
        "iou_threshold": Real(0, 1),
        "max_detections": Integer(1, MAX_CANDIDATES),
    }
    arity = (2, 1 + MAX_LEVELS)
    produces = ("boxes", "scores", "labels")

    def values(self, attrs: Attrs) -> int:
        """Logits of a box."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[Kind], attrs: Attrs, tensors: Tensors) -> list[Kind]:
        """Boxes and maps to detections."""
        levels = [float_map(kind) for kind in inputs[1:]]
        expect_candidates(attrs, len(levels))
        expect_boxes(inputs[0], count_boxes(levels, self.values(attrs)))
        limit = attrs["max_detections"]
        return [FoundBoxes(limit), FoundScores(limit), FoundLabels(limit)]


class Nms(_Suppression):
    """Scores are sigmoids (RetinaNet): maps (A·K, H, W)."""

    def values(self, attrs: Attrs) -> int:
        """One a class."""
        return int(attrs["num_classes"])

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Select and suppress."""
        refuse_nan(inputs[1:], "class logits")
        found = detection.nms(inputs[0], inputs[1:], **attrs, canvas=(context.height, context.width))
        return [found.boxes, found.scores, found.labels]


class NmsSoftmax(_Suppression):
    """Scores are a softmax over classes and background, the last (Faster R-CNN, SSD): maps (A·(K + 1), H, W)."""

    def values(self, attrs: Attrs) -> int:
        """One a class, and the background's."""
        return int(attrs["num_classes"]) + 1

    def run(self, inputs: list[np.ndarray], attrs: Attrs, prepared: Any, context: Context) -> list[np.ndarray]:
        """Select and suppress."""
        if not all(np.isfinite(level).all() for level in inputs[1:]):
            raise GraphError("Expected class logits to be finite, but some are NaN or infinite; look for it upstream.")
        found = detection.nms_softmax(inputs[0], inputs[1:], **attrs, canvas=(context.height, context.width))
        return [found.boxes, found.scores, found.labels]
