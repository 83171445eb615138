import shutil

import numpy as np
import pytest
from class_sets import TREE, write_classes, write_zip
from PIL import Image

from bnn_tasks.data import CropFlip, ImageFolderData, SyntheticDetectionData, check

SIZE = (12, 16)


@pytest.mark.parametrize("packed", [False, True])
def test_a_good_classification_set_is_clean(tmp_path, packed):
    root = write_classes(tmp_path / "set")
    data = ImageFolderData(write_zip(tmp_path / "set.zip", root) if packed else root, SIZE, val_fraction=0.2)
    report = data.check()
    assert report.errors == report.warnings == report.suggestions == []
    assert {split: counts.tolist() for split, counts in report.splits.items()} == {
        "train": [8, 8],
        "val": [2, 2],
        "test": [2, 2],
    }
    assert report.image_sizes == {(12, 16): 24}
    lines = [line.split() for line in str(report).splitlines()]
    assert lines[:4] == [
        ["train", "val", "test"],
        ["images", "16", "4", "4"],
        ["cat", "8", "2", "2"],
        ["dog", "8", "2", "2"],
    ]
    assert "12x16: 24" in str(report)
    assert "0 errors" in str(report)


def test_everything_wrong_with_a_classification_set_is_listed_at_once(tmp_path):
    write_classes(tmp_path, {**TREE, "train/emu": "", "test/fox": "y"})
    (tmp_path / "train" / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "test" / "dog" / "w.png").write_bytes(b"")
    (tmp_path / "test" / "alone.png").write_bytes(b"")
    (tmp_path / "train" / "cat" / "notes.txt").write_bytes(b"")
    # The same pixels in another format and under another name, and once more in another class.
    Image.open(tmp_path / "train" / "cat" / "b.png").save(tmp_path / "test" / "cat" / "again.webp", lossless=True)
    shutil.copy(tmp_path / "train" / "cat" / "c.png", tmp_path / "train" / "dog" / "twin.png")
    report = ImageFolderData(tmp_path, SIZE, val_fraction=0).check()
    expected = (
        "a.png: not a readable picture",
        "w.png: not a readable picture",
        "alone.png: a picture outside the class folders",
        "class 'emu' has no pictures in train",
        "the class folder 'fox' in test is none of the 3 classes",
    )
    for part in expected:
        assert sum(part in message for message in report.errors) == 1, part
    assert len(report.errors) == len(expected)
    expected = (
        "notes.txt: not a picture of a known kind",
        "class 'emu' has no pictures in test",
        "1 pictures of test are in train too, pixel by pixel, train/cat/b.png = test/cat/again.webp",
        "1 pictures are in more than one class, pixel by pixel, train/cat/c.png = train/dog/twin.png",
    )
    for part in expected:
        assert sum(part in message for message in report.warnings) == 1, part
    assert len(report.warnings) == len(expected)
    assert "5 errors" in str(report)
    assert report.splits["train"].tolist() == [10, 11, 0]


def test_the_held_out_share_is_compared_too(tmp_path):
    write_classes(tmp_path, {"train/cat": "ab", "train/dog": "cd"})
    shutil.copy(tmp_path / "train" / "cat" / "a.png", tmp_path / "train" / "cat" / "b.png")
    report = ImageFolderData(tmp_path, SIZE, val_fraction=0.5).check()
    assert ["1 pictures of val are in train too" in message for message in report.warnings] == [True]


def test_pictures_of_one_content_and_two_shapes_are_two(tmp_path):
    write_classes(tmp_path, {"train/dog": "a", "test/dog": "b"}, (5, 5))
    for split, shape in (("train", (4, 6, 3)), ("test", (6, 4, 3))):
        folder = tmp_path / split / "cat"
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros(shape, np.uint8)).save(folder / "a.png")
    report = ImageFolderData(tmp_path, SIZE, val_fraction=0).check()
    assert report.warnings == []


@pytest.mark.parametrize(
    ("tree", "splits"),
    [
        ({"train/cat": "ab", "train/dog": "d", "val/cat": "c", "val/dog": "e"}, {"train": 3, "val": 2}),
        ({"cat": "abcde", "dog": "fghij"}, {"train": 8, "val": 2}),
        (
            {"train/cat": "ab", "train/dog": "cd", "test/cat": "e", "test/dog": "f"},
            {"train": 2, "val": 2, "test": 2},
        ),
    ],
)
def test_only_splits_that_differ_are_shown(tmp_path, tree, splits):
    report = ImageFolderData(write_classes(tmp_path, tree), SIZE).check()
    assert report.errors == report.warnings == []
    assert {split: int(counts.sum()) for split, counts in report.splits.items()} == splits


def test_a_stray_file_is_named_once_where_splits_share_their_folders(tmp_path):
    root = write_classes(tmp_path, {"cat": "abcde", "dog": "fghij"})
    (root / "cat" / "notes.txt").write_bytes(b"")
    report = ImageFolderData(root, SIZE).check()
    assert ["cat/notes.txt: not a picture" in message for message in report.warnings] == [True]


def test_one_class_is_nothing_to_tell_apart(tmp_path, caplog):
    data = ImageFolderData(write_classes(tmp_path, {"train/cat": "ab", "val/cat": "c"}), SIZE)
    message = f"{tmp_path}: 'cat' is the only class, so any net is right on every picture"
    assert [warning.startswith(message) for warning in data.check().warnings] == [True]
    data.setup("fit")
    assert message in caplog.text


def test_what_cannot_be_read_at_all_is_reported(tmp_path):
    report = ImageFolderData(tmp_path / "nowhere", SIZE).check()
    assert len(report.errors) == 1
    assert "no such folder" in str(report)
    write_classes(tmp_path, {"test/cat": "a"})
    report = ImageFolderData(tmp_path, SIZE, classes=["cat"]).check()
    assert ["there is no train split" in message for message in report.errors] == [True]
    assert report.splits["test"].tolist() == [1]
    report = ImageFolderData(write_classes(tmp_path / "flat", {"cat": "ab"}), SIZE).check()
    assert any("too few pictures to split" in message for message in report.errors)


def test_every_data_module_checks_itself(tmp_path):
    data = SyntheticDetectionData(tmp_path / "set", [(48, 64)], images=10, image_size=(48, 64))
    assert str(data.check()) == str(check(data))
    data = ImageFolderData(write_classes(tmp_path / "classes"), SIZE, cache=True, train_augment=CropFlip())
    assert data.check().errors == []
