"""check-data finds everything that is wrong with a segmentation set at once."""

import shutil

import numpy as np
import pytest
from mask_sets import SIZE, write_folder, write_mask, write_picture
from PIL import Image

from bnn_tasks.data import MaskFolderData

CLASSES = ["sky", "road", "car"]


def check(root, sizes=(SIZE,), **options):
    return MaskFolderData(root, list(sizes), **({"classes": CLASSES} | options)).check()


def test_a_good_set_is_clean_and_says_its_shares(tmp_path):
    written = write_folder(tmp_path)
    report = check(tmp_path)
    assert report.errors == report.warnings == []
    assert ["the test split has the pictures of val" in message for message in report.suggestions] == [True]
    assert report.image_sizes == {SIZE: 7}
    values = np.concatenate([written[name].ravel() for name in "fg"])
    shares = [(values == label).mean() for label in (0, 1, 2, 255)]
    np.testing.assert_allclose(report.splits["val"].shares(), shares)
    lines = [line.split() for line in str(report).splitlines()]
    assert lines[:2] == [["train", "val"], ["images", "5", "2"]]
    assert [line[0] for line in lines[2:6]] == [*CLASSES, "(void)"]
    assert [line[2] for line in lines[2:6]] == [f"{share:.2%}" for share in shares]


def test_everything_wrong_is_listed_at_once(tmp_path):
    write_folder(tmp_path, splits=(("train", "abcdefghij"), ("val", "kl")))
    masks, images = tmp_path / "masks" / "train", tmp_path / "images" / "train"
    write_mask(masks / "a.png", np.zeros((8, 6)))  # of another size
    values = np.zeros(SIZE)
    values[0, :5], values[1, 0] = 7, 200
    write_mask(masks / "b.png", values)
    write_mask(masks / "c.png", np.random.default_rng(0).integers(0, 2, (*SIZE, 3)) * 255)  # RGB
    (masks / "d.png").unlink()
    (images / "e.png").unlink()
    (images / "f.png").write_bytes(b"")
    (masks / "g.png").write_bytes(b"")
    write_mask(masks / "h.png", np.full(SIZE, 255))
    shutil.copy(masks / "i.png", masks / "i.jpg.png")  # a mask of no picture
    report = check(tmp_path)
    expected = (
        "a.png: the mask is 6x8 pixels, but a.png is 8x6",
        "b.png: mask values that are neither a class nor void: 7 (5 pixels), 200 (1 pixel); there are 0..2, 255",
        "c.png: expected an index mask (paletted or grey), but got an RGB one",
        "d.png: there is no mask d.*",
        "e.png: there is no picture e.*",
        "f.png: not a readable picture",
        "g.png: not a readable picture",
        "i.jpg.png: there is no picture i.jpg.*",
    )
    for part in expected:
        assert sum(part in message for message in report.errors) == 1, (part, report.errors)
    assert len(report.errors) == len(expected)
    assert sum("h.png: every pixel is void" in message for message in report.warnings) == 1
    assert "colours: {name: [r, g, b], ...}" in str(report)


def test_a_test_split_that_is_val_repeats_no_error(tmp_path):
    write_folder(tmp_path, splits=(("train", "ab"), ("val", "cd")))
    for split in ("train", "val"):
        for mask in (tmp_path / "masks" / split).iterdir():
            mask.unlink()
    errors = check(tmp_path).errors
    assert len(errors) == len(set(errors)) == 4


def test_classes_without_pixels_are_named(tmp_path):
    write_folder(tmp_path, top=2)
    write_mask(tmp_path / "masks" / "val" / "f.png", np.full(SIZE, 2))
    report = check(tmp_path, classes=["sky", "road", "car", "bus"])
    assert "class 'car' has no pixel in the train split, so it cannot be learnt" in report.warnings
    assert "class 'bus' has no pixel in any split; remove it, or add some" in report.warnings
    assert report.errors == []


def test_classes_are_not_missed_where_masks_could_not_be_counted(tmp_path):
    write_folder(tmp_path, top=2)
    write_mask(tmp_path / "masks" / "train" / "a.png", np.full(SIZE, 9))
    report = check(tmp_path, classes=["sky", "road", "car", "bus"])
    assert "9" in report.errors[0]
    assert not any("no pixel" in message for message in report.warnings)


def test_a_missing_split_is_an_error_but_test(tmp_path):
    write_folder(tmp_path, splits=(("train", "ab"),))
    report = check(tmp_path)
    assert len(report.errors) == 1
    assert report.errors[0].startswith("the val split cannot be read")
    assert sum("the test split cannot be read" in message for message in report.warnings) == 1


def test_one_class_is_explained(tmp_path):
    write_folder(tmp_path, top=1)
    report = check(tmp_path, classes=["road"])
    assert report.errors == []
    assert any("'road' is the only class" in message and "background" in message for message in report.warnings)


def test_turned_pictures_are_named(tmp_path):
    write_folder(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    for name in "ac":
        path = tmp_path / "images" / "train" / f"{name}.png"
        Image.open(path).save(path, exif=exif)
    report = check(tmp_path)
    assert report.errors == []
    assert sum("a.png and 1 other(s): an EXIF orientation turns the picture" in text for text in report.warnings) == 1


def test_black_and_white_masks_are_explained(tmp_path):
    write_folder(tmp_path, top=1)  # 0 and 255
    report = check(tmp_path, classes=["back", "fore"])
    assert any("values: [0, 255], void: []" in message for message in report.suggestions)
    report = check(tmp_path, classes=["back", "fore"], values=[0, 255], void=[])
    assert not any("255" in message for message in report.suggestions)
    assert report.splits["train"].void == 0


@pytest.mark.parametrize(
    ("size", "message"),
    [((12, 16), "7 of 7 pictures are smaller than the net's input"), ((24, 4), "of a canvas is grey border")],
)
def test_the_input_size_is_judged(tmp_path, size, message):
    write_folder(tmp_path)
    assert any(message in suggestion for suggestion in check(tmp_path, [size]).suggestions)


def test_pictures_in_two_splits_are_named(tmp_path):
    for name in "abcdef":
        write_picture(tmp_path / "images" / "train" / f"{name}.png")
        write_mask(tmp_path / "masks" / "train" / f"{name}.png", np.zeros(SIZE))
    report = check(tmp_path, splits={"val": "train", "test": "train"}, classes=["a", "b"])
    for split in ("val", "test"):
        assert sum(f"6 pictures are both in train and in {split}" in message for message in report.warnings) == 1
    assert list(report.splits) == ["train", "val"]


def test_a_set_that_cannot_be_read_at_all_is_one_error(tmp_path):
    report = check(tmp_path / "nowhere", classes=None)
    assert len(report.errors) == 1
    assert "classes.txt" in report.errors[0]
