"""The generated segmentation set."""

import numpy as np
import pytest

from bnn_tasks.data import DataError, ScaleCropFlip, SyntheticSegmentationData
from bnn_tasks.data.synthetic import generate, generate_masks
from bnn_tasks.data.synthetic.scenes import labelled_scene, scene
from bnn_tasks.runtime.images import read_image

SIZE = (48, 64)


def test_the_set_trains_and_is_clean(tmp_path):
    data = SyntheticSegmentationData(
        tmp_path / "set", [(40, 56)], scenes=30, image_size=SIZE, train_augment=ScaleCropFlip(), batch_size=4
    )
    assert data.class_names == ["background", "circle", "square", "triangle"]
    data.setup("fit")
    assert sum(len(batch.targets) for batch in data.train_dataloader()) == 18
    assert sum(len(batch.targets) for batch in data.val_dataloader()) == 6
    assert sum(len(batch.targets) for batch in data.test_dataloader()) == 6
    report = data.check()
    assert report.errors == report.warnings == []
    assert list(report.splits) == ["train", "val", "test"]
    assert (report.splits["train"].pixels > 0).all()
    assert report.splits["train"].pixels[0] > report.splits["train"].pixels[1:].sum()


def test_the_pictures_are_those_of_the_detection_set(tmp_path):
    generate(tmp_path / "boxes", 5, SIZE)
    generate_masks(tmp_path / "masks", 5, SIZE)
    for i, split in enumerate(("train", "train", "train", "val", "test")):
        one = read_image(tmp_path / "boxes" / "JPEGImages" / f"{i:06d}.jpg")
        two = read_image(tmp_path / "masks" / "images" / split / f"{i:06d}.jpg")
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("seed", range(12))
def test_labels_lie_in_the_boxes_of_their_objects(seed):
    classes = ["circle", "star", "cross"]
    image, objects = scene(np.random.default_rng(seed), *SIZE, classes)
    again, labels = labelled_scene(np.random.default_rng(seed), *SIZE, classes)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(again))
    assert labels.dtype == np.uint8
    assert {classes[label - 1] for label in np.unique(labels) if label} == {found.name for found in objects}
    boxed = np.zeros(SIZE, int)
    for found in objects:  # the hindmost first
        x0, y0, x1, y1 = found.box
        inner = labels[y0:y1, x0:x1]
        assert (inner == 1 + classes.index(found.name)).any()
        boxed[y0:y1, x0:x1] = 1
    assert (labels[boxed == 0] == 0).all()


def test_another_set_in_the_folder_is_an_error(tmp_path):
    generate_masks(tmp_path / "set", 5, SIZE)
    with pytest.raises(DataError, match="holds something else"):
        generate_masks(tmp_path / "set", 6, SIZE)
    with pytest.raises(ValueError, match="at least 5"):
        generate_masks(tmp_path / "other", 4, SIZE)
