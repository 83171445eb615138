import numpy as np
import pytest

from bnn_tasks.metrics import object_counts, of_images, truth_by_image

FILE = {
    "categories": [{"id": 3, "name": "cat"}, {"id": 10_000, "name": "dog"}, {"id": 4, "name": "cow"}],
    "images": [{"id": 20}, {"id": 10}, {"id": 30}],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 10_000, "bbox": [1, 2, 3, 4], "iscrowd": 0, "difficult": 1},
        {"id": 2, "image_id": 20, "category_id": 3, "bbox": [5, 5, 1, 1], "iscrowd": 1, "difficult": 0},
        {"id": 3, "image_id": 10, "category_id": 3, "bbox": [0.5, 0, 2, 2]},
    ],
}


def test_arrays_by_image():
    truth = truth_by_image(FILE)
    assert list(truth) == [20, 10, 30]
    np.testing.assert_array_equal(truth[10].boxes, [[1, 2, 4, 6], [0.5, 0, 2.5, 2]])
    assert truth[10].labels.tolist() == [1, 0]
    assert truth[10].difficult.tolist() == [True, False]
    assert truth[20].crowd.tolist() == [True]
    assert truth[30].boxes.shape == (0, 4)


def test_counts():
    assert object_counts(FILE) == {
        "objects": {"cat": 1, "dog": 1, "cow": 0},
        "difficult": {"cat": 0, "dog": 1, "cow": 0},
        "crowds": {"cat": 1, "dog": 0, "cow": 0},
    }


def test_a_part_of_a_file():
    part = of_images(FILE, [10, 30])
    assert [image["id"] for image in part["images"]] == [10, 30]
    assert [entry["id"] for entry in part["annotations"]] == [1, 3]
    assert part["categories"] == FILE["categories"]
    with pytest.raises(ValueError, match=r"image id\(s\) \[7\]"):
        of_images(FILE, [7, 10])
