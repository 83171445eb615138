"""Reads a whole segmentation set and lists everything that is wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bnn_tasks.data.findings import DataError, Findings, empty_fault
from bnn_tasks.data.module import SPLITS
from bnn_tasks.data.recorded_check import check_cache, check_overlap, shown_scale, suggest_sizes, val_is_test
from bnn_tasks.data.report import DataReport, format_counts
from bnn_tasks.data.segmentation.batch import VOID
from bnn_tasks.data.segmentation.coding import MaskCoding
from bnn_tasks.data.segmentation.dataset import SegmentationRecord
from bnn_tasks.data.segmentation.faults import one_class_fault, size_fault, unmet_fault, void_class_hint, void_fault
from bnn_tasks.runtime.images import ImageError, Resize, is_turned, read_image

if TYPE_CHECKING:
    from bnn_tasks.data.segmentation.base import SegmentationData

ENLARGED_SHARE = 0.05


@dataclass
class SplitPixels:
    """Counts of one split.

    Attributes:
        images: pictures whose mask was read.
        pixels: (K,) int64, of each class.
        void: void pixels.
    """

    images: int
    pixels: np.ndarray
    void: int

    def shares(self) -> np.ndarray:
        """Return (K + 1,) float64: share of each class in all pixels, and of void; zeros where there are none."""
        counts = np.append(self.pixels, self.void)
        return np.asarray(counts / max(counts.sum(), 1))


@dataclass
class SegmentationReport(DataReport):
    """What a segmentation set contains, and what is wrong with it.

    Attributes:
        splits: by name; a test split that is the val split, or one that cannot be read, is not here.
    """

    splits: dict[str, SplitPixels] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return the number of pictures, then the share of all pixels that each class has, and that are void."""
        summaries = self.splits.values()
        rows = [("images", [summary.images for summary in summaries])]
        lines = format_counts(list(self.splits), rows)
        width = max([len(name) for name in self.class_names] + [10])
        shares = [summary.shares() for summary in summaries]
        for label, name in enumerate([*self.class_names, "(void)"]):
            lines.append(" ".join([f"{name:<{width}}", *(f"{share[label]:>8.2%}" for share in shares)]))
        return lines


def check_segmentation(data: "SegmentationData") -> SegmentationReport:
    """Read every picture and every mask of every split; nothing stops it.

    Args:
        data: the set, with the input size and resize rule it will be trained at.
    """
    report = SegmentationReport()
    try:
        data.prepare_data()
        report.class_names = data.class_names
    except ValueError as error:
        report.errors.append(str(error))
        return report
    records: dict[str, list[SegmentationRecord]] = {}
    for split in SPLITS:
        findings = Findings()
        try:
            records[split] = data.read(split, findings)
            coding = data.coding(split)
        except DataError as error:
            _fatal(split, findings)(f"the {split} split cannot be read: {error}")
            records[split] = []
        else:
            if not records[split] and not findings.errors:
                _fatal(split, findings)(empty_fault(data.root, split))
        if split == "test" and val_is_test(records):
            continue
        if records[split]:
            report.splits[split] = _read_all(records[split], coding, report, findings)
            if (images := report.splits[split].images) and not report.splits[split].pixels.any():
                _fatal(split, findings)(void_fault(data.root, split, images))
        report.take(findings)
    _check_splits(records, report)
    check_cache(data, records, 4, report)  # RGB and label
    _suggest(data.resize, report)
    return report


def _fatal(split: str, findings: Findings) -> Callable[[str], None]:
    """What takes a fault of a whole split: training and validation do without a test split."""
    return findings.warning if split == "test" else findings.error


def _read_all(
    records: list[SegmentationRecord], coding: MaskCoding, report: SegmentationReport, findings: Findings
) -> SplitPixels:
    num_classes = len(report.class_names)
    pixels = np.zeros(VOID + 1, np.int64)
    images = 0
    turned = [record.path for record in records if is_turned(record.path)]
    if turned:
        others = f" and {len(turned) - 1} other(s)" if turned[1:] else ""
        findings.warning(
            f"{turned[0]}{others}: an EXIF orientation turns the picture; masks are not turned, so that its own must be drawn "
            "on the picture as it is shown"
        )
    for record in records:
        image = mask = None
        try:
            image = read_image(record.path)
            report.image_sizes[image.shape[0], image.shape[1]] += 1
        except ImageError as error:
            findings.error(str(error))
        try:
            mask = coding.read(record.mask)
        except (ImageError, DataError) as error:
            findings.error(str(error))
        if mask is None:
            continue
        if image is not None and (fault := size_fault(record.path, image.shape[:2], record.mask, mask.shape)):
            findings.error(fault)
        counts = np.bincount(mask.ravel(), minlength=VOID + 1)
        if counts[VOID] == mask.size:
            findings.warning(f"{record.mask}: every pixel is void, so nothing of the picture is learnt or judged")
        pixels += counts
        images += 1
    return SplitPixels(images, pixels[:num_classes], int(pixels[VOID]))


def _check_splits(records: dict[str, list[SegmentationRecord]], report: SegmentationReport) -> None:
    check_overlap(records, report)
    # Where a mask could not be counted, a class that was not met may be in it.
    for label, name in enumerate([] if report.errors else report.class_names):
        if not any(summary.pixels[label] for summary in report.splits.values()):
            report.warnings.append(f"class {name!r} has no pixel in any split; remove it, or add some")
        elif "train" in report.splits and not report.splits["train"].pixels[label]:
            report.warnings.append(unmet_fault(name))
    if len(report.class_names) == 1:
        report.warnings.append(one_class_fault(report.class_names[0]))
    void = sum(summary.void for summary in report.splits.values())
    summaries = report.splits.values()
    unmet = [label for label in range(len(report.class_names)) if not any(one.pixels[label] for one in summaries)]
    if void and (hint := void_class_hint(report.class_names, unmet)):
        report.suggestions.append(hint)


def _suggest(resize: Resize, report: SegmentationReport) -> None:
    sizes = list(report.image_sizes.elements())  # of the pictures that can be read
    enlarged = sum(max(shown_scale(resize, size)) > 1 for size in sizes)
    if sizes and enlarged / len(sizes) > ENLARGED_SHARE:
        report.suggestions.append(
            f"{enlarged} of {len(sizes)} pictures are smaller than the net's input {resize.sizes} and are enlarged to it; "
            "smaller `sizes` would spend fewer operations on them"
        )
    suggest_sizes(sizes, resize, report)
