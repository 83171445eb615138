"""Reads a whole detection set and lists everything that is wrong with it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnn_tasks.data.detection.dataset import Record, learnt_labels
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS
from bnn_tasks.data.recorded_check import check_cache, check_overlap, shown_scale, suggest_sizes, val_is_test
from bnn_tasks.data.report import DataReport, format_counts
from bnn_tasks.runtime.images import ImageError, Resize, read_image

if TYPE_CHECKING:
    from bnn_tasks.data.detection.base import DetectionData

SMALL_SIDE = 8  # canvas pixels; a feature map of stride 8, the finest of a usual detector, has one value for it
SMALL_SHARE = 0.05
FEW_LEVELS = 64  # of 256; two bits of eight lost


@dataclass
class SplitSummary:
    """Counts of one split.

    Attributes:
        images: number of them.
        empty: images without objects.
        objects: (K,) int64, per class, difficult and crowd included.
        difficult: objects flagged so.
        crowd: objects flagged so.
    """

    images: int
    empty: int
    objects: np.ndarray
    difficult: int
    crowd: int


@dataclass
class PixelSummary:
    """Values of all pixels that were read.

    Attributes:
        low: least value, 0..255.
        high: largest value, 0..255.
        coloured: images that are not grey.
        images: number of them.
    """

    low: int = 255
    high: int = 0
    coloured: int = 0
    images: int = 0

    def add(self, image: np.ndarray) -> None:
        """Count one image, (height, width, 3) uint8 RGB."""
        self.low, self.high = min(self.low, int(image.min())), max(self.high, int(image.max()))
        self.coloured += bool((image[..., 0] != image[..., 1]).any() or (image[..., 0] != image[..., 2]).any())
        self.images += 1


@dataclass
class Report(DataReport):
    """What a detection set contains, and what is wrong with it.

    Attributes:
        splits: by name; a test split that is the val split, or one that cannot be read, is not here.
    """

    splits: dict[str, SplitSummary] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return a line a count and one a class."""
        summaries = self.splits.values()
        rows = [
            ("images", [summary.images for summary in summaries]),
            ("empty", [summary.empty for summary in summaries]),
            ("difficult", [summary.difficult for summary in summaries]),
            ("crowd", [summary.crowd for summary in summaries]),
        ]
        rows += [(name, [int(s.objects[label]) for s in summaries]) for label, name in enumerate(self.class_names)]
        return format_counts(list(self.splits), rows)


def check(data: "DetectionData") -> Report:
    """Read every annotation and every image of every split; nothing stops it.

    Args:
        data: the set, with the input size and resize rule it will be trained at.
    """
    report = Report()
    try:
        data.prepare_data()
        report.class_names = data.class_names
    except ValueError as error:
        report.errors.append(str(error))
        return report
    records: dict[str, list[Record]] = {}
    pixels = PixelSummary()
    for split in SPLITS:
        findings = Findings()
        try:
            records[split] = data.read(split, findings)
        except DataError as error:  # training and validation do without a test split
            (findings.warning if split == "test" else findings.error)(f"the {split} split cannot be read: {error}")
            records[split] = []
        if split == "test" and val_is_test(records):
            continue
        _check_images(records[split], report, findings, pixels)
        if records[split]:
            report.splits[split] = _summary(records[split], len(report.class_names))
        report.take(findings)
    _check_splits(records, report)
    check_cache(data, records, 3, report)  # RGB
    _check_pixels(data.channels, pixels, report)
    _suggest([record for split in report.splits for record in records[split]], data.resize, report)
    return report


def _check_images(records: list[Record], report: Report, findings: Findings, pixels: PixelSummary) -> None:
    for record in records:
        try:
            image = read_image(record.path)
        except ImageError as error:
            findings.error(str(error))
            continue
        size = image.shape[:2]
        pixels.add(image)
        report.image_sizes[size[0], size[1]] += 1
        if size != (record.height, record.width):
            findings.error(
                f"{record.path}: the image has (height, width) = {size}, but its annotation is for "
                f"{(record.height, record.width)}; annotate the file as it is, its EXIF orientation applied"
            )
        if len(record.boxes) > len(np.unique(np.column_stack([record.boxes, record.labels]), axis=0)):
            findings.warning(f"{record.path}: an object is there more than once (same class and box); remove one")
        for box in record.boxes[(record.boxes[:, 2:] - record.boxes[:, :2] <= 1).any(1)]:
            findings.warning(f"{record.path}: the box {box.tolist()} is no more than one pixel wide or high")


def _summary(records: list[Record], num_classes: int) -> SplitSummary:
    labels = np.concatenate([record.labels for record in records])
    return SplitSummary(
        images=len(records),
        empty=sum(not len(record.labels) for record in records),
        objects=np.bincount(labels, minlength=num_classes),
        difficult=int(sum(record.difficult.sum() for record in records)),
        crowd=int(sum(record.crowd.sum() for record in records)),
    )


def _check_splits(records: dict[str, list[Record]], report: Report) -> None:
    check_overlap(records, report)
    learnt = learnt_labels(records["train"])
    for label, name in enumerate(report.class_names):
        if not any(summary.objects[label] for summary in report.splits.values()):
            report.warnings.append(f"class {name!r} has no objects in any split; remove it, or add some")
        elif "train" in report.splits and not report.splits["train"].objects[label]:
            report.warnings.append(f"class {name!r} has no objects in the train split, so it cannot be learnt")
        elif "train" in report.splits and label not in learnt:
            report.warnings.append(
                f"class {name!r} has only difficult or crowd objects in the train split, so it cannot be learnt"
            )


def _check_pixels(channels: int, pixels: PixelSummary, report: Report) -> None:
    if not pixels.images:
        return
    if channels == 1 and pixels.coloured:
        report.warnings.append(
            f"{pixels.coloured} of {pixels.images} images have colours, of which a net sees the luma alone with `channels` 1"
        )
    if channels == 3 and not pixels.coloured:
        report.suggestions.append("no image has colours; a net of one channel (`channels` 1, `in_channels` 1) would do")
    if pixels.high - pixels.low < FEW_LEVELS:
        report.suggestions.append(
            f"all pixels of all images are in [{pixels.low}, {pixels.high}] of [0, 255]; stretch the whole set by one rule "
            "(16-bit thermal pictures are scaled as if they went up to 65535), or fine detail is rounded away"
        )


def _suggest(records: list[Record], resize: Resize, report: Report) -> None:
    small = total = 0
    for record in records:
        scale_y, scale_x = shown_scale(resize, (record.height, record.width))
        sides = ((record.boxes[:, 2:] - record.boxes[:, :2]) * (scale_x, scale_y)).min(1)
        small += int((sides < SMALL_SIDE).sum())
        total += len(sides)
    if total and small / total > SMALL_SHARE:
        report.suggestions.append(
            f"{small} of {total} boxes ({small / total:.0%}) are less than {SMALL_SIDE} pixels wide or high at "
            f"{resize.sizes}; larger `sizes` would show them better"
        )
    suggest_sizes([(record.height, record.width) for record in records], resize, report)
