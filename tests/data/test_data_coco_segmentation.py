import re

import numpy as np
import pytest
from pycocotools import mask
from voc_sets import coco_content, write_coco

from bnn_tasks.data import CocoDetectionData, check
from bnn_tasks.data.coco_segmentation import segmentation_fault

SIZE = (48, 64)
PIXELS = 48 * 64


def random_mask(seed):
    rng = np.random.default_rng(seed)
    size = tuple(int(side) for side in rng.integers(1, 60, 2))
    return np.asfortranarray(rng.random(size) < rng.random() ** 3, np.uint8), size


@pytest.mark.parametrize("seed", range(30))
def test_masks_that_pycocotools_writes_are_right(seed):
    drawn, size = random_mask(seed)
    encoded = mask.encode(drawn)
    runs = np.flatnonzero(np.diff(np.concatenate([[0], drawn.ravel("F"), [2]]))).tolist()
    counts = np.diff([0, *runs]).tolist()
    assert segmentation_fault({"size": list(size), "counts": encoded["counts"].decode()}, size) is None
    assert segmentation_fault({"size": list(size), "counts": counts}, size) is None
    other = (size[0] + 1, size[1])
    assert "`size`" in segmentation_fault({"size": list(size), "counts": counts}, other)
    assert "sum to" in segmentation_fault({"size": list(other), "counts": counts}, other)
    assert "sum to" in segmentation_fault({"size": list(other), "counts": encoded["counts"].decode()}, other)


GOOD = {
    "a triangle": [[1, 1, 9, 1, 5, 8.5]],
    "two parts": [[1, 1, 9, 1, 5, 8], [20, 20, 30, 20, 30, 30, 20, 30]],
    "beyond the edges": [[-64, -64, 128, 1, 5, 112]],
    "all of it": {"size": [48, 64], "counts": [0, PIXELS]},
}
BAD = {
    "two points": ([[1, 1, 9, 9]], "polygon 0 .*three points"),
    "the second of two points": ([[1, 1, 9, 1, 5, 8], [1, 1, 9, 9]], "polygon 1 .*three points"),
    "an odd number": ([[1, 1, 9, 1, 5, 8, 3]], "three points"),
    "no points": ([[]], "three points"),
    "no polygons": ([], "list of polygons or an RLE"),
    "text": ("mask", "list of polygons or an RLE"),
    "nothing": (None, "list of polygons or an RLE"),
    "a flat list": ([1, 1, 9, 1, 5, 8], "polygon 0"),
    "not a number": ([[1, 1, 9, 1, 5, float("nan")]], "finite numbers"),
    "words": ([[1, 1, 9, 1, 5, "8"]], "finite numbers"),
    "an integer of many digits": ([[1, 1, 9, 1, 5, 10**400]], "finite numbers"),
    "a point far to the right": (
        [[1, 1, 128.5, 1, 5, 8]],
        r"64x48 pixels, but got x in \[1, 128\.5\] and y in \[1, 8\]",
    ),
    "a point far to the left": ([[1, 1, -1e10, 1, 5, 8]], "to lie on the image"),
    "a point far above": ([[1, -65, 9, 1, 5, 8]], "to lie on the image"),
    "the second far below": ([[1, 1, 9, 1, 5, 8], [1, 1, 9, 1, 5, 113]], "polygon 1 .*to lie on the image"),
    "size the other way round": ({"size": [64, 48], "counts": [PIXELS]}, r"\[48, 64\], but got \[64, 48\]"),
    "no size": ({"counts": [PIXELS]}, "but got None"),
    "too few pixels": ({"size": [48, 64], "counts": [5, 5]}, "48x64 = 3072 pixels, but got 10"),
    "a negative run": ({"size": [48, 64], "counts": [-1, PIXELS + 1]}, "run lengths"),
    "no counts": ({"size": [48, 64]}, "run lengths"),
    "a cut text": ({"size": [48, 64], "counts": "o"}, "run lengths"),
    "another text": ({"size": [48, 64], "counts": "é"}, "run lengths"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_good_segmentations_are_silent(kind):
    assert segmentation_fault(GOOD[kind], SIZE) is None


@pytest.mark.parametrize("kind", BAD)
def test_bad_segmentations_are_a_warning_that_names_file_and_record(tmp_path, kind, caplog):
    value, message = BAD[kind]
    content = coco_content()
    content["annotations"][1]["segmentation"] = value
    data = CocoDetectionData(write_coco(tmp_path, val=content), [SIZE])
    pattern = rf"instances_val2017\.json: annotations\[1\], id 2: .*{message}"
    report = check(data)
    assert report.errors == []
    assert sum(re.search(pattern, text) is not None for text in report.warnings) == 1
    assert len(data.records("val")[0].labels) == 2  # its box is used
    assert "annotations[1], id 2" in caplog.text
