"""Reads a whole classification set and lists everything that is wrong with it."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bnn_tasks.data.classification.pictures import Pictures, Sample
from bnn_tasks.data.findings import DataError, Findings
from bnn_tasks.data.module import SPLITS
from bnn_tasks.data.report import DataReport, format_counts
from bnn_tasks.runtime.images import ImageError

if TYPE_CHECKING:
    from bnn_tasks.data.classification.base import ClassificationData


@dataclass
class ClassificationReport(DataReport):
    """What a classification set contains, and what is wrong with it.

    Attributes:
        splits: (K,) int64 pictures of each class, by split as it is trained on; a test split that is the val split is
            not here.
    """

    splits: dict[str, np.ndarray] = field(default_factory=dict)

    def table(self) -> list[str]:
        """Return a line for all pictures and one a class."""
        counts = self.splits.values()
        rows = [("images", [int(count.sum()) for count in counts])]
        rows += [(name, [int(count[label]) for count in counts]) for label, name in enumerate(self.class_names)]
        return format_counts(list(self.splits), rows)


def check_classification(data: "ClassificationData") -> ClassificationReport:
    """Read every picture of every split; nothing stops it.

    Args:
        data: the set, with the share of train that it holds out.
    """
    report = ClassificationReport()
    try:
        data.prepare_data()
        report.class_names = data.class_names
        own = data.own_splits()
    except ValueError as error:
        report.errors.append(str(error))
        return report
    if "train" not in own:
        report.errors.append(f"{data.root}: there is no train split; training needs one")
    if len(report.class_names) == 1:
        report.warnings.append(one_class_fault(data.root, report.class_names[0]))
    listed: dict[str, Pictures] = {}
    digests: dict[str, bytes] = {}
    for split in sorted(own, key=SPLITS.index):
        findings = Findings()
        try:
            listed[split] = data.read(split, findings)
        except DataError as error:
            findings.error(f"the {split} split cannot be read: {error}")
        else:
            digests |= _read_all(listed[split], report, findings)
        report.take(findings)
    splits = _splits(data, listed)
    for split, samples in splits.items():
        labels = np.array([sample.label for sample in samples], np.int64)
        report.splits[split] = np.bincount(labels, minlength=len(report.class_names))
    _check_repeats(splits, digests, report)
    return report


def one_class_fault(root: Path, name: str) -> str:
    """Say that there is nothing to tell apart.

    Args:
        root: of the set.
        name: of the only class.
    """
    return (
        f"{root}: {name!r} is the only class, so any net is right on every picture; is it a folder around the classes?"
    )


def _splits(data: "ClassificationData", listed: dict[str, Pictures]) -> dict[str, list[Sample]]:
    """The splits as they are trained on: with val held out of train, without a test that repeats val."""
    wanted = set(listed) | ({"val"} if "train" in listed and data.has_val and "val" not in data.own_splits() else set())
    return {split: data.select(split, listed.__getitem__).samples for split in SPLITS if split in wanted}


def _read_all(pictures: Pictures, report: ClassificationReport, findings: Findings) -> dict[str, bytes]:
    """Decode all pictures; return a hash of each one's pixels, by name."""
    digests: dict[str, bytes] = {}
    for index, sample in enumerate(pictures.samples):
        try:
            image = pictures.read(index)
        except ImageError as error:
            findings.error(str(error))
            continue
        height, width = image.shape[:2]
        report.image_sizes[height, width] += 1
        # Of the pixels, not of the file: the same picture may be in train as PNG and in test as WebP.
        digests[sample.name] = hashlib.blake2b(b"%d %d " % (height, width) + image.tobytes(), digest_size=16).digest()
    return digests


def _check_repeats(splits: dict[str, list[Sample]], digests: dict[str, bytes], report: ClassificationReport) -> None:
    by_split = {
        split: {digests[sample.name]: sample for sample in samples if sample.name in digests}
        for split, samples in splits.items()
    }
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        a, b = by_split.get(first, {}), by_split.get(second, {})
        if shared := sorted((a[digest].name, b[digest].name) for digest in a.keys() & b.keys()):
            report.warnings.append(
                f"{len(shared)} pictures of {second} are in {first} too, pixel by pixel, {shared[0][0]} = {shared[0][1]} "
                "among them; scores on them say nothing about new pictures"
            )
    labels: defaultdict[bytes, dict[int, str]] = defaultdict(dict)
    for samples in splits.values():
        for sample in samples:
            if sample.name in digests:
                labels[digests[sample.name]].setdefault(sample.label, sample.name)
    if contradictory := [names for names in labels.values() if len(names) > 1]:
        first, second = list(contradictory[0].values())[:2]
        report.warnings.append(
            f"{len(contradictory)} pictures are in more than one class, pixel by pixel, {first} = {second} among them; "
            "keep each in one"
        )
