"""What `run` makes of a result: rows of predictions.json, a picture to look at, and of a segmentation a mask."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from bnn_tasks.runtime.captions import captioned
from bnn_tasks.runtime.class_colours import legend, overlay, voc_palette
from bnn_tasks.runtime.classification import Classification
from bnn_tasks.runtime.detection import Detections
from bnn_tasks.runtime.draw import PAGE, draw_boxes
from bnn_tasks.runtime.segmentation import Segmentation

TOP = 5  # classes that are listed for each picture of a classifier
LEGEND_WIDTH = 240  # pixels at least, of a legend

Found = Detections | Classification | Segmentation


def rows(found: Found, classes: Sequence[str], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """What predictions.json lists of a picture: a row for each object, or one.

    Args:
        found: of the picture.
        classes: names by label.
        category_ids: by label.
    """
    if isinstance(found, Segmentation):
        return [{"shares": dict(zip(classes, found.shares(len(classes)).tolist(), strict=True))}]
    if isinstance(found, Classification):
        best = [{"category": classes[k], "score": float(found.probabilities[k])} for k in found.top(TOP)]
        return [{"category_id": category_ids[found.label], **best[0], "top5": best}]
    return [
        {
            "category_id": category_ids[label],
            "category": classes[label],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for (x0, y0, x1, y1), score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    ]


def drawn(image: np.ndarray, found: Found, classes: Sequence[str], draw_from: float) -> np.ndarray:
    """The picture with its boxes, its label, or the colours of its classes and what they mean.

    Args:
        image: (height, width, 3) uint8 RGB.
        found: of the picture.
        classes: names by label.
        draw_from: score from which a detection is drawn, in [0, 1].

    Returns:
        uint8 RGB of about the picture's size.
    """
    if isinstance(found, Segmentation):
        return _below(overlay(image, found.classes), legend(classes, max(LEGEND_WIDTH, image.shape[1])))
    if isinstance(found, Classification):
        return captioned(image, [f"{classes[found.label]} {found.probabilities[found.label]:.0%}"])
    shown = found.scores >= draw_from
    return draw_boxes(image, found.boxes[shown], found.labels[shown], classes, found.scores[shown])


def _below(image: np.ndarray, page: np.ndarray) -> np.ndarray:
    """A picture, and below it a page that is as wide or wider."""
    margin = np.full((image.shape[0], page.shape[1] - image.shape[1], 3), PAGE, np.uint8)
    return np.concatenate([np.concatenate([image, margin], axis=1), page])


def mask_picture(classes: np.ndarray) -> Image.Image:
    """A mask as a paletted picture: every index is a class, in the colours of PASCAL VOC's masks.

    Args:
        classes: (h, w) uint8.
    """
    picture = Image.fromarray(classes).convert("L")
    picture.putpalette(voc_palette().tobytes())
    return picture
