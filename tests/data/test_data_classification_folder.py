import logging
import multiprocessing
import os
import pickle

import numpy as np
import pytest
from class_sets import TREE, write_classes, write_zip
from PIL import Image
from voc_sets import write_image

from bnn_tasks.data import DataError, ImageFolderData
from bnn_tasks.data.findings import Findings
from bnn_tasks.runtime.images import ImageError

SIZE = (12, 16)


def stems(data, split):
    return "".join(sample.name[-5] for sample in data.samples(split))


def test_folders_are_splits_and_classes(tmp_path):
    data = ImageFolderData(write_classes(tmp_path, {**TREE, "val/cat": "yz", "val/dog": "A"}), SIZE)
    assert data.class_names == ["cat", "dog"]
    assert stems(data, "train") == "abcdefghijklmnopqrst"
    assert data.samples("val") == [("val/cat/y.png", 0), ("val/cat/z.png", 0), ("val/dog/A.png", 1)]
    assert [sample.label for sample in data.samples("test")] == [0, 0, 1, 1]


def test_without_a_val_folder_a_share_of_each_class_is_held_out(tmp_path):
    data = ImageFolderData(write_classes(tmp_path), SIZE, val_fraction=0.2)
    held, kept = data.samples("val"), data.samples("train")
    assert [sample.label for sample in held] == [0, 0, 1, 1]
    assert sorted(held + kept) == sorted(ImageFolderData(tmp_path, SIZE, val_fraction=0).samples("train"))
    assert len(held + kept) == len({*held, *kept}) == 20


def test_without_a_test_folder_test_is_val(tmp_path, caplog):
    tree = {"train/cat": "ab", "train/dog": "cd", "val/cat": "e", "val/dog": "f"}
    data = ImageFolderData(write_classes(tmp_path, tree), SIZE)
    with caplog.at_level(logging.INFO):
        assert data.samples("test") == data.samples("val") == [("val/cat/e.png", 0), ("val/dog/f.png", 1)]
    assert any("the test split is the val split" in message for message in caplog.messages)


def test_every_fifth_name_of_a_class_is_val_without_split_folders(tmp_path, caplog):
    data = ImageFolderData(write_classes(tmp_path, {"cat": "kjihgfedcba", "dog": "lmnop"}), SIZE)
    with caplog.at_level(logging.INFO):
        data.setup("fit")
    assert sum("every fifth picture of each class by name is val" in message for message in caplog.messages) == 1
    assert stems(data, "val") == stems(data, "test") == "ejp"
    assert stems(data, "train") == "abcdfghiklmno"


def test_splits_and_classes_can_be_named(tmp_path):
    write_classes(tmp_path, {"all/cat": "abc", "all/dog": "d", "night/set/dog": "e", "night/set/cat": "f"})
    splits = {"train": "all", "val": "night/set"}
    data = ImageFolderData(tmp_path, SIZE, splits=splits, classes=["dog", "cat"])
    assert data.class_names == ["dog", "cat"]
    assert data.samples("val") == [("night/set/dog/e.png", 0), ("night/set/cat/f.png", 1)]


def test_a_test_folder_alone_needs_classes(tmp_path):
    write_classes(tmp_path, {"test/cat": "a", "test/dog": "b"})
    assert len(ImageFolderData(tmp_path, SIZE, classes=["cat", "dog"]).samples("test")) == 2
    with pytest.raises(DataError, match="no class folders in train"):
        _ = ImageFolderData(tmp_path, SIZE).class_names
    with pytest.raises(DataError, match=r"there is no train split; there are \['test'\]"):
        ImageFolderData(tmp_path, SIZE, classes=["cat", "dog"]).setup("fit")


def test_pictures_may_lie_deeper_and_hidden_files_do_not_count(tmp_path):
    write_classes(tmp_path, {"train/cat": "a", "train/cat/more/and/more": "b", "train/dog": "c", "train/.git": "d"})
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"")
    data = ImageFolderData(tmp_path, SIZE, val_fraction=0)
    assert [tuple(sample) for sample in data.samples("train")] == [
        ("train/cat/a.png", 0),
        ("train/cat/more/and/more/b.png", 0),
        ("train/dog/c.png", 1),
    ]


def batches(data, split):
    data.setup({"train": "fit"}.get(split, split))
    loader = {"train": data.train_dataloader, "validate": data.val_dataloader, "test": data.test_dataloader}[split]()
    return [(batch.images.numpy(), batch.labels.tolist(), batch.names) for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_a_zip_file_is_its_folder(tmp_path, prefix, workers):
    root = write_classes(tmp_path / "set")
    archive = write_zip(tmp_path / "set.zip", root, prefix)
    options = {"size": (10, 10), "batch_size": 3, "num_workers": workers, "val_fraction": 0.3}
    for split in ("validate", "test"):
        one, other = (
            batches(ImageFolderData(root, **options), split),
            batches(ImageFolderData(archive, **options), split),
        )
        assert len(one) == len(other) > 0
        for (images, *rest), (images_again, *rest_again) in zip(one, other):
            np.testing.assert_array_equal(images, images_again)
            assert rest == rest_again
    assert ImageFolderData(archive, **options).class_names == ["cat", "dog"]


def test_pixels_are_those_of_pillow(tmp_path):
    root = write_classes(tmp_path)
    ((images, labels, names), *_) = batches(ImageFolderData(root, SIZE, batch_size=4), "test")
    for image, label, name in zip(images, labels, names):
        np.testing.assert_allclose(image.transpose(1, 2, 0), np.asarray(Image.open(root / name)) / 255.0, atol=1e-7)
        assert f"/{['cat', 'dog'][label]}/" in name


def test_a_zip_source_survives_pickling(tmp_path):
    archive = write_zip(tmp_path / "set.zip", write_classes(tmp_path / "set"))
    pictures = ImageFolderData(archive, SIZE).pictures("test")
    before = pictures.read(0)  # opens the file
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pictures)).read(0), before)


def test_a_forked_worker_leaves_its_parents_zip_file_alone(tmp_path):
    """Both would move one file position, and read each other's bytes."""
    root = write_classes(tmp_path / "set", size=(80, 100))
    source = ImageFolderData(write_zip(tmp_path / "set.zip", root), SIZE).pictures("test").source
    source.read("test/cat/u.png")
    number = source._archive().fp.fileno()
    before = os.lseek(number, 0, os.SEEK_CUR)
    worker = multiprocessing.get_context("fork").Process(target=source.read, args=("train/dog/t.png",))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert os.lseek(number, 0, os.SEEK_CUR) == before


def test_one_folder_around_a_set_is_skipped_but_a_split_is_not(tmp_path):
    data = ImageFolderData(
        write_classes(tmp_path, {"pets/train/cat": "a", "pets/train/dog": "b"}), SIZE, val_fraction=0
    )
    assert data.samples("train") == [("train/cat/a.png", 0), ("train/dog/b.png", 1)]
    assert data.pictures("train").read(1).shape == (12, 16, 3)
    archive = write_zip(tmp_path / "x.zip", tmp_path / "pets")
    assert ImageFolderData(archive, SIZE, val_fraction=0).samples("train") == data.samples("train")


@pytest.mark.parametrize("packed", [False, True])
def test_what_lies_beside_the_one_folder_is_left_out(tmp_path, packed):
    root = write_classes(tmp_path / "set", {"pets/cat": "abcde", "pets/dog": "fghij", "lists": ""})
    for name in ("README.txt", "Thumbs.db", "LICENSE", "lists/all.txt"):
        (root / name).write_bytes(b"x")
    data = ImageFolderData(write_zip(tmp_path / "set.zip", root) if packed else root, SIZE)
    assert data.class_names == ["cat", "dog"]
    assert data.check().warnings == []
    assert stems(data, "val") == "ej"


def test_a_picture_beside_class_folders_is_in_none_of_them(tmp_path):
    write_image(write_classes(tmp_path, {"cat/more": "abcde", "dog": "fghij"}) / "alone.png")
    data = ImageFolderData(tmp_path, SIZE)
    assert data.class_names == ["cat", "dog"]
    with pytest.raises(DataError, match=r"alone\.png: a picture outside the class folders"):
        data.setup("fit")


def test_links_that_lead_back_up_are_not_followed(tmp_path):
    root = write_classes(tmp_path / "set", {"train/cat": "ab", "train/dog": "c"})
    write_classes(tmp_path / "elsewhere", {"more": "d"})
    (root / "train" / "cat" / "again").symlink_to(".")
    (root / "train" / "cat" / "all").symlink_to(tmp_path)
    (root / "train" / "dog" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "one").mkdir()  # two that lead to one another
    (root / "two").mkdir()
    (root / "one" / "link").symlink_to(root / "two")
    (root / "two" / "link").symlink_to(root / "one")
    data = ImageFolderData(root, SIZE, val_fraction=0)
    assert [name for name, _ in data.samples("train")] == [
        *("train/cat/a.png", "train/cat/b.png", "train/dog/c.png", "train/dog/more/d.png")
    ]
    assert len(data._files.folders) == 8


@pytest.mark.parametrize("named", [{"val": "vaild"}, {"test": "Test"}, {"train": "all", "test": "Test"}])
def test_a_named_split_must_be_there(tmp_path, named):
    write_classes(tmp_path, {**TREE, "valid/cat": "y", "valid/dog": "z"})
    data = ImageFolderData(tmp_path, SIZE, splits=named, classes=["cat", "dog"])
    names = ", ".join(f"{split}: {folder}" for split, folder in named.items())
    with pytest.raises(DataError, match=rf"not there, {names}; there are \['test', 'train', 'valid'\]"):
        data.setup("fit")
    assert [names in message for message in data.check().errors] == [True]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("Train", "Validation", "Test"), ("training", "valid", "testing"), ("TRAIN", "VAL", "TEST")],
)
def test_splits_in_another_spelling_are_no_classes(tmp_path, train, val, test):
    tree = {f"{split}/{name}": "ab" for split in (train, val, test) for name in ("cat", "dog")}
    root = write_classes(tmp_path, {**tree, "extra": "c"})
    with pytest.raises(DataError, match=rf"splits: \{{train: {train}, val: {val}, test: {test}\}}"):
        _ = ImageFolderData(root, SIZE).class_names
    assert ImageFolderData(root, SIZE, splits={"train": train, "val": val, "test": test}).class_names == ["cat", "dog"]


def test_a_class_may_be_called_train_but_not_every_class_a_split(tmp_path):
    data = ImageFolderData(write_classes(tmp_path / "set", {"Bus": "abcde", "Train": "fghij"}), SIZE)
    assert data.class_names == ["Bus", "Train"]
    with pytest.raises(DataError, match="Train, Test would be classes, but look like splits"):
        ImageFolderData(write_classes(tmp_path / "flat", {"Train": "abcde", "Test": "f"}), SIZE).setup("fit")


def test_macs_own_files_in_a_zip_do_not_count(tmp_path):
    root = write_classes(tmp_path / "set", {"pets/train/cat": "ab", "__MACOSX/pets/train/cat": "c"})
    data = ImageFolderData(write_zip(tmp_path / "set.zip", root), SIZE, val_fraction=0)
    assert data.class_names == ["cat"]
    assert stems(data, "train") == "ab"


@pytest.mark.parametrize("packed", [False, True])
def test_a_class_without_pictures_is_named(tmp_path, packed, caplog):
    root = write_classes(tmp_path / "set", {**TREE, "train/emu": ""})
    data = ImageFolderData(write_zip(tmp_path / "set.zip", root) if packed else root, SIZE)
    with pytest.raises(DataError, match="class 'emu' has no pictures in train; add some, or remove its folder"):
        data.setup("fit")
    assert len(data.samples("test")) == 4
    assert "class 'emu' has no pictures in test" in caplog.text


def test_a_class_that_train_lacks_is_named(tmp_path):
    data = ImageFolderData(write_classes(tmp_path, {**TREE, "test/emu": "y"}), SIZE)
    data.setup("fit")
    with pytest.raises(DataError, match="the class folder 'emu' in test is none of the 2 classes; rename"):
        data.setup("test")


def test_stray_files_are_named(tmp_path, caplog):
    root = write_classes(tmp_path, {**TREE, "validation/cat": "y"})
    (root / "train" / "cat" / "readme.txt").write_text("x")
    (root / "train" / "readme.txt").write_text("x")
    (root / "readme.txt").write_text("x")
    write_image(root / "test" / "alone.png")
    findings = Findings()
    data = ImageFolderData(root, SIZE)
    assert len(data.read("train", findings).samples) == 20
    assert [message.partition(": ")[2].partition(":")[0].partition(";")[0] for message in findings.warnings] == [
        "train/cat/readme.txt",
        "train/readme.txt",
        "no split is made of validation",
    ]
    with pytest.raises(DataError, match=r"test/alone\.png: a picture outside the class folders"):
        data.setup("test")
    data.setup("fit")
    assert "3 warnings in the train split" in caplog.text


def test_missing_and_unreadable_roots_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder or zip file"):
        ImageFolderData(tmp_path / "nowhere", SIZE).setup("fit")
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"x\.zip: not a readable zip file"):
        ImageFolderData(tmp_path / "x.zip", SIZE).setup("fit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no class folders in it; expected train/<class>/"):
        ImageFolderData(tmp_path / "empty", SIZE).setup("fit")
    with pytest.raises(DataError, match="too few pictures to split"):
        ImageFolderData(write_classes(tmp_path / "flat", {"cat": "ab", "dog": "cd"}), SIZE).setup("fit")


def test_a_damaged_member_of_a_zip_names_both_files(tmp_path):
    root = write_classes(tmp_path / "set")
    (root / "test" / "cat" / "u.png").write_bytes(b"no picture")
    archive = write_zip(tmp_path / "set.zip", root, compression=0)
    content = archive.read_bytes()
    at = content.index((root / "test" / "cat" / "v.png").read_bytes()) + 60
    archive.write_bytes(content[:at] + b"\0\0\0\0" + content[at + 4 :])
    pictures = ImageFolderData(archive, SIZE).pictures("test")
    with pytest.raises(ImageError, match=r"set\.zip: test/cat/u\.png: not a readable picture") as error:
        pictures.read(0)
    assert "object at 0x" not in str(error.value)
    with pytest.raises(ImageError, match=r"set\.zip: test/cat/v\.png: not readable \(Bad CRC"):
        pictures.read(1)


@pytest.mark.parametrize("options", [{"splits": {"night": "a"}}, {"classes": []}, {"classes": ["a", "a"]}])
def test_bad_folder_arguments_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        ImageFolderData(tmp_path, SIZE, **options)
