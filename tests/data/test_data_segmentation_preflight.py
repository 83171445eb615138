"""What would make a fit worthless is refused before its first step, in the words of check-data."""

import json
import logging
import shutil
import unicodedata

import numpy as np
import pytest
from mask_sets import SIZE, write_folder, write_mask, write_panoptic, write_picture
from PIL import Image

from bnn_tasks.data import CocoPanopticData, DataError, MaskFolderData
from bnn_tasks.runtime.images import ImageError

CLASSES = ["a", "b", "c"]


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path)
    return tmp_path


def make(root, **options):
    return MaskFolderData(root, [SIZE], **({"classes": CLASSES} | options))


def void(root, *splits):
    for split in splits:
        for path in (root / "masks" / split).iterdir():
            write_mask(path, np.full(SIZE, 255))


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_split_is_an_error_of_both(root, split):
    for folder in ("images", "masks"):
        for path in (root / folder / split).iterdir():
            path.unlink()
    fault = f"{root}: the {split} split has no pictures; add some"
    with pytest.raises(DataError) as raised:
        make(root).setup("fit")
    assert str(raised.value) == fault
    assert make(root).check().errors == [fault]


def test_an_empty_test_split_is_a_warning_of_check_data(root):
    for folder in ("images", "masks"):
        (root / folder / "test").mkdir()
    report = make(root).check()
    assert report.errors == []
    assert f"{root}: the test split has no pictures; add some" in report.warnings


def test_a_panoptic_file_without_annotations_is_an_error(tmp_path):
    write_panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_train2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    assert f"{tmp_path}: the train split has no pictures; add some" in CocoPanopticData(tmp_path, [SIZE]).check().errors


def test_a_class_that_cannot_be_learnt_is_a_warning_at_fit(tmp_path, caplog):
    write_folder(tmp_path, top=1)  # 0 and 255
    make(tmp_path, classes=["back", "fore"]).setup("fit")
    assert "class 'fore' has no pixel in the train split" in caplog.text
    assert "values: [0, 255], void: []" in caplog.text
    caplog.clear()
    make(tmp_path, classes=["back", "fore"], values=[0, 255], void=[]).setup("fit")
    assert "no pixel" not in caplog.text


def test_linked_folders_and_decomposed_names_are_met(root):
    shutil.move(root / "masks" / "train", root / "elsewhere")
    (root / "masks" / "train").symlink_to(root / "elsewhere")
    for kind, form in (("images", "NFC"), ("masks", "NFD")):
        folder = root / kind / "train"
        (folder / "a.png").rename(folder / unicodedata.normalize(form, "Bär.png"))
        (folder / "deep").mkdir()
        (root / f"{kind}_deep").mkdir()
        (folder / "linked").symlink_to(root / f"{kind}_deep")
        (folder / "b.png").rename(root / f"{kind}_deep" / "b.png")
        (root / f"{kind}_deep" / "loop").symlink_to(root / f"{kind}_deep")
        (folder / "._c.png").write_bytes(b"what macOS puts there")
    names = [record.name for record in make(root).records("train")]
    assert names == ["Bär.png", "c.png", "d.png", "e.png", "linked/b.png"]


@pytest.mark.parametrize(("split", "name"), [("train", "d"), ("val", "g")])
def test_sizes_are_compared_before_a_fit_by_the_headers_alone(root, split, name):
    write_mask(root / "masks" / split / f"{name}.png", np.random.default_rng(0).integers(0, 3, (40, 30)))
    for path in (root / "masks" / split).iterdir():
        if path.stem != "a" and path.stem != "f":  # one is decoded, to see that not all is void
            path.write_bytes(path.read_bytes()[:-20])  # the end of the pixels is gone, the header is there
    with pytest.raises(
        DataError, match=rf"masks/{split}/{name}\.png: the mask is 30x40 pixels, but {name}\.png is 8x6\."
    ):
        make(root).setup("fit")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_an_unreadable_header_is_an_error_in_val_and_replaced_in_train(root, kind):
    (root / kind / "train" / "b.png").write_bytes(b"no picture")
    data = make(root, batch_size=5)
    data.setup("fit")
    assert [batch.damaged for batch in data.train_dataloader()] == [["b.png"]]
    (root / kind / "val" / "g.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=rf"{kind}/val/g\.png: not a readable"):
        make(root).setup("fit")


@pytest.mark.parametrize(("orientation", "told"), [(None, False), (3, False), (6, True)])
def test_the_orientation_is_told_where_it_turns_the_picture(tmp_path, orientation, told):
    write_folder(tmp_path, splits=(("train", "bcd"), ("val", "fg")))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    picture = tmp_path / "images" / "train" / "a.jpg"
    Image.new("RGB", (8, 6)).save(picture, exif=exif)
    write_mask(tmp_path / "masks" / "train" / "a.png", np.zeros((6, 8) if told else (8, 6)))
    shown = r"6x8, its EXIF orientation applied\." if told else r"8x6\."
    with pytest.raises(DataError, match=rf"a\.png: the mask is .* pixels, but a\.jpg is {shown}"):
        make(tmp_path).setup("fit")
    (error,) = make(tmp_path).check().errors
    assert ("EXIF" in error) == told


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(("split", "stage"), [("train", "fit"), ("val", "fit"), ("val", "validate"), ("val", "test")])
def test_a_split_that_is_all_void_is_refused_where_it_would_count(root, split, stage, cache):
    void(root, split)
    data = make(root, cache=cache)
    with pytest.raises(DataError, match=r"every pixel of the \d masks of the (train|val|test) split is void"):
        data.setup(stage)
    data.setup("predict")
    assert sum(f"masks of the {split} split is void" in error for error in data.check().errors) == 1


def test_a_test_split_that_is_all_void_may_be_predicted(root):
    write_picture(root / "images" / "test" / "t.png")
    write_mask(root / "masks" / "test" / "t.png", np.full(SIZE, 255))
    data = make(root)
    for stage in ("fit", "predict"):
        data.setup(stage)
    report = data.check()
    assert report.errors == []
    assert any("every pixel of the 1 masks of the test split is void" in warning for warning in report.warnings)


def test_one_pixel_of_a_class_is_enough(root):
    void(root, "train", "val")
    values = np.full(SIZE, 255)
    values[-1, -1] = 2
    for path in (root / "masks" / "train" / "e.png", root / "masks" / "val" / "f.png"):
        write_mask(path, values)
    data = make(root)
    for stage in ("fit", "validate", "test"):
        data.setup(stage)


def test_one_class_is_a_warning_at_fit(tmp_path, caplog):
    write_folder(tmp_path, top=1)
    with caplog.at_level(logging.WARNING):
        make(tmp_path, classes=["road"]).setup("validate")
        assert caplog.text == ""
        make(tmp_path, classes=["road"]).setup("fit")
    assert "'road' is the only class" in caplog.text
    assert "teaches nothing" in caplog.text


@pytest.mark.parametrize(("end", "name"), [("", "a"), ("_mask", "a_mask")])
def test_the_suffixes_that_count_are_said(tmp_path, end, name):
    write_picture(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "masks" / "train").mkdir(parents=True)
    Image.new("P", SIZE[::-1]).save(tmp_path / "masks" / "train" / f"{name}.gif")
    with pytest.raises(DataError) as raised:
        make(tmp_path, mask_end=end).setup("fit")
    assert f"there is no mask {name}.* in {tmp_path / 'masks' / 'train'} (.bmp, .jpeg, .jpg, .png" in str(raised.value)


def test_masks_that_an_ending_tells_may_lie_above_their_pictures(tmp_path):
    for i in range(5):
        write_picture(tmp_path / "pictures" / f"{i}.png")
        write_mask(tmp_path / f"{i}_mask.png", np.zeros(SIZE))
    data = make(tmp_path, images="pictures", masks="", mask_end="_mask")
    assert len(data.records("train")) == 4


def test_unreadable_pictures_have_no_size_to_judge(root):
    for name in "abc":
        (root / "images" / "train" / f"{name}.png").write_bytes(b"no picture")
    report = make(root).check()
    assert len(report.errors) == 3
    assert not any("canvas" in message or "enlarged" in message for message in report.suggestions)
