"""Checks that detection and segmentation sets share: splits that overlap, the memory of the cache, borders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from bnn_tasks.data.cache import Sized, decoded_bytes
from bnn_tasks.data.recorded import RecordedData
from bnn_tasks.data.report import DataReport
from bnn_tasks.runtime.images import Resize, Size

GREY_SHARE = 0.25  # of the canvas, from which another input size is suggested

RecordT = TypeVar("RecordT", bound=Sized)


def val_is_test(records: Mapping[str, Sequence[RecordT]]) -> bool:
    """Whether test has the pictures of val, as in sets without a test split.

    Args:
        records: of val and test, by split.
    """
    val, test = ([record.path for record in records[split]] for split in ("val", "test"))
    return bool(val) and val == test


def check_overlap(records: Mapping[str, Sequence[RecordT]], report: DataReport) -> None:
    """Warn of pictures that are both in train and in another split; say where test is val.

    Args:
        records: of all three splits; one that cannot be read has none.
        report: takes the warnings, and that test is val as a suggestion.
    """
    if val_is_test(records):
        report.suggestions.append(
            "the test split has the pictures of val, which are counted once; a test split of its own would judge a net by "
            "pictures that no setting was chosen on"
        )
    paths: dict[str, set[Path]] = {split: {record.path for record in found} for split, found in records.items()}
    for split in ("val", "test"):
        if shared := paths["train"] & paths.get(split, set()):
            report.warnings.append(
                f"{len(shared)} pictures are both in train and in {split}, {min(shared).name} among them; "
                "scores on them say nothing about new pictures"
            )


def check_cache(
    data: RecordedData[RecordT], records: Mapping[str, Sequence[RecordT]], bytes_a_pixel: int, report: DataReport
) -> None:
    """Report a cache that would be refused.

    Args:
        data: the set.
        records: by split.
        bytes_a_pixel: that are kept.
        report: takes the error.
    """
    kept = [record for split in ("train", "val") for record in records.get(split, [])]
    needed = decoded_bytes(kept, (bytes_a_pixel,))
    if data.cache and needed > data.cache_limit:
        report.errors.append(
            f"{data.root}: `cache` needs {needed:,} bytes ({needed / 2**30:.2f} GiB), more than `cache_limit`; set `cache` to "
            "false, or a larger limit"
        )


def shown_scale(resize: Resize, size: Size) -> tuple[float, float]:
    """By how much (height, width) a picture is magnified.

    Args:
        resize: the rule.
        size: (height, width) of the picture.
    """
    canvas = resize.bucket(*size)
    x0, y0, x1, y1 = resize.window(*size, canvas)
    return canvas[0] / (y1 - y0), canvas[1] / (x1 - x0)


def suggest_sizes(pictures: Sequence[Size], resize: Resize, report: DataReport) -> None:
    """Suggest other sizes where much of the canvases is border.

    Args:
        pictures: (height, width) of each.
        resize: how they become canvases.
        report: takes the suggestion.
    """
    if not pictures:
        return
    grey = np.mean([_border(size, resize) for size in pictures])
    if grey > GREY_SHARE:
        report.suggestions.append(
            f"on average {grey:.0%} of a canvas is grey border at {resize.sizes}; `sizes` nearer to the pictures' aspect "
            "ratios would spend fewer operations on it"
        )


def _border(size: Size, resize: Resize) -> float:
    """Share of the canvas that the picture does not cover."""
    height, width = resize.bucket(*size)
    scale_y, scale_x = shown_scale(resize, size)
    return 1 - scale_y * scale_x * size[0] * size[1] / (height * width)
