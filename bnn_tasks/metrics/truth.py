"""The content of a COCO annotation file as arrays, one entry an image."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np


class ImageTruth(NamedTuple):
    """One image's true objects, in the order of the file.

    Attributes:
        boxes: (M, 4) float64 xyxy, pixels of the original image.
        labels: (M,) int64 in 0..K-1, positions in the file's ``categories``.
        difficult: (M,) bool; VOC's flag, False where the file does not say it.
        crowd: (M,) bool; COCO's ``iscrowd``.
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray


def truth_by_image(ground_truth: dict[str, Any]) -> dict[int, ImageTruth]:
    """Sort the objects by image.

    Args:
        ground_truth: content of a COCO annotation file, its ``categories`` in label order.

    Returns:
        Every image by its id, those without objects included, in the order of the file.
    """
    label = {category["id"]: position for position, category in enumerate(ground_truth["categories"])}
    objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in ground_truth["images"]}
    for entry in ground_truth["annotations"]:
        objects[entry["image_id"]].append(entry)
    return {image_id: _arrays(entries, label) for image_id, entries in objects.items()}


def _arrays(entries: list[dict[str, Any]], label: dict[int, int]) -> ImageTruth:
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return ImageTruth(
        boxes,
        np.array([label[entry["category_id"]] for entry in entries], np.int64),
        np.array([entry.get("difficult", 0) for entry in entries], bool),
        np.array([entry.get("iscrowd", 0) for entry in entries], bool),
    )


def of_images(ground_truth: dict[str, Any], image_ids: Collection[int]) -> dict[str, Any]:
    """A part of a set, as a file of its own; entries are not copied.

    Args:
        ground_truth: content of a COCO annotation file.
        image_ids: the images to keep.

    Raises:
        ValueError: an image is not in the file.
    """
    wanted = set(image_ids)
    if missing := wanted - {image["id"] for image in ground_truth["images"]}:
        raise ValueError(
            f"Expected detections on images of the ground truth, but got image id(s) {sorted(missing)[:5]}, which it lacks. "
            "Cure: the data module and the split that the images come from."
        )
    images = [image for image in ground_truth["images"] if image["id"] in wanted]
    annotations = [entry for entry in ground_truth["annotations"] if entry["image_id"] in wanted]
    return {**ground_truth, "images": images, "annotations": annotations}


def object_counts(ground_truth: dict[str, Any]) -> dict[str, dict[str, int]]:
    """How many objects figures rest on.

    Args:
        ground_truth: content of a COCO annotation file.

    Returns:
        By class name, each 0 or more: ``objects``, what COCO's AP counts: all that are no crowds; ``difficult``, those of
        them that VOC's AP leaves out; ``crowds``, regions that neither counts.
    """
    names = {category["id"]: category["name"] for category in ground_truth["categories"]}
    counts = {kind: dict.fromkeys(names.values(), 0) for kind in ("objects", "difficult", "crowds")}
    for entry in ground_truth["annotations"]:
        name, crowd = names[entry["category_id"]], bool(entry.get("iscrowd", 0))
        counts["crowds" if crowd else "objects"][name] += 1
        counts["difficult"][name] += int(not crowd and bool(entry.get("difficult", 0)))
    return counts
