"""A detector's results on whole images, and the figures that they give."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_tasks.data.detection.batch import DetectionTarget
from bnn_tasks.metrics import VOCEvaluator, of_images, truth_by_image
from bnn_tasks.tasks.coco_metrics import coco_metrics


@dataclass  # not frozen: Lightning moves what predict_step returns to the CPU, field by field
class ImageDetections:
    """Detections of one image in its own pixels.

    Attributes:
        target: the image and its ground truth.
        boxes: (D, 4) float32, xyxy in pixels of the original image.
        scores: (D,) float32.
        labels: (D,) int64.
    """

    target: DetectionTarget
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def coco_results(
    images: Iterable[ImageDetections], category_ids: list[int], classes: list[str]
) -> list[dict[str, Any]]:
    """Detections as the rows of a COCO results file, by image id, then by falling score; nothing is rounded.

    Args:
        images: each image once, in any order.
        category_ids: of the K classes, in label order.
        classes: their names, in label order.

    Returns:
        Rows of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``, and besides, ``file_name`` and
        ``category``, the class's name.
    """
    rows = []
    for image in sorted(images, key=lambda image: image.target.image_id):
        order = np.argsort(-image.scores, kind="stable")
        boxes = image.boxes[order].astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, label in zip(boxes.tolist(), image.scores[order].tolist(), image.labels[order].tolist()):
            rows.append(
                {
                    "image_id": image.target.image_id,
                    "file_name": image.target.file_name,
                    "category_id": category_ids[label],
                    "category": classes[label],
                    "bbox": box,
                    "score": score,
                }
            )
    return rows


def coco_truth(targets: Iterable[DetectionTarget], classes: list[str]) -> dict[str, Any]:
    """The ground truth that batches carry, as `DetectionData.ground_truth` gives it, but for their float32.

    Args:
        targets: of whole images.
        classes: the K class names; their category ids are 1 … K.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for target in targets:
        images.append({"id": target.image_id, "file_name": target.file_name})
        boxes = target.image_boxes.cpu().double().numpy()
        boxes[:, 2:] -= boxes[:, :2]
        flags = zip(target.area.tolist(), target.crowd.tolist(), target.difficult.tolist())
        for box, label, (area, crowd, difficult) in zip(boxes.tolist(), target.labels.tolist(), flags):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": target.image_id,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": area,
                    "iscrowd": int(crowd),
                    "difficult": int(difficult),
                }
            )
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


class DetectionMetrics:
    """COCO's metrics (pycocotools) and VOC's AP50 over a set of images; in what order they come makes no difference.

    Args:
        classes: class names.
    """

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self._images: list[ImageDetections] = []

    def update(self, detections: ImageDetections) -> None:
        """Add one image."""
        self._images.append(detections)

    def compute(self, ground_truth: dict[str, Any] | None = None) -> dict[str, float]:
        """All metrics by name, each in [0, 1], higher is better; `coco_metrics` says what a set without such objects gives.

        ``ap``, …, ``ap/CLASS``, ``ap50/CLASS`` as in `coco_metrics`; ``voc_ap50_area``, ``voc_ap50_11point`` and
        ``voc_ap50/CLASS``, NaN for a class without objects, which the means leave out.

        Args:
            ground_truth: the set, images that were not added included: `DetectionData.ground_truth`; None is what the images'
                targets say, whose float32 may move an object that lies on the border of two area ranges.

        Raises:
            ValueError: `ground_truth` lacks an image that was added, or has other classes.
        """
        images = sorted(self._images, key=lambda image: image.target.image_id)
        if ground_truth is None:
            truth = coco_truth([image.target for image in images], self.classes)
        else:
            truth = of_images(ground_truth, [image.target.image_id for image in images])
        if (names := [category["name"] for category in truth["categories"]]) != self.classes:
            raise ValueError(f"Expected ground truth of the classes {self.classes}, but got {names}.")
        ids = [category["id"] for category in truth["categories"]]
        values = coco_metrics(truth, coco_results(images, ids, self.classes))
        voc, objects = VOCEvaluator(len(self.classes)), truth_by_image(truth)
        for image in images:
            true = objects[image.target.image_id]
            # A crowd is no single object: VOC's rule for what is neither found nor missed fits it.
            ignored = true.difficult | true.crowd
            voc.update(image.boxes, image.scores, image.labels, true.boxes, true.labels, ignored)
        result = voc.compute()
        values |= {"voc_ap50_area": float(result.mean), "voc_ap50_11point": float(result.mean11)}
        return values | {f"voc_ap50/{name}": float(ap) for name, ap in zip(self.classes, result.ap)}
