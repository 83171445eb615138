import logging
import unicodedata

import numpy as np
import pytest
from PIL import ExifTags, Image
from voc_sets import picture, voc_xml, write_image, write_voc, write_xml

from bnn_tasks.data import DataError, VOCDetectionData

SIZES = [(24, 32)]
SPLITS = {"train": "abc", "val": "d", "test": "e"}
CAT = ("cat", (1, 1, 20, 30))


def stems(data, split):
    return [record.path.stem for record in data.records(split)]


@pytest.mark.parametrize("folders", [("JPEGImages", "Annotations"), ("images", "annotations"), (".", ".")])
def test_accepted_layouts(tmp_path, folders):
    data = VOCDetectionData(write_voc(tmp_path, splits=SPLITS, folders=folders), SIZES)
    assert [stems(data, split) for split in SPLITS] == [["a", "b", "c"], ["d"], ["e"]]
    assert data.class_names == ["cat"]


def test_every_fifth_name_is_val_without_lists(tmp_path, caplog):
    data = VOCDetectionData(write_voc(tmp_path, "kjihgfedcba"), SIZES)
    with caplog.at_level(logging.INFO):
        assert stems(data, "val") == stems(data, "test") == ["e", "j"]
    assert stems(data, "train") == list("abcdfghik")
    assert any("the test split is the val split" in message for message in caplog.messages)
    assert sum("every fifth picture by name is the val split" in message for message in caplog.messages) == 1


def test_image_ids_are_positions_in_the_sorted_list(tmp_path):
    data = VOCDetectionData(write_voc(tmp_path, splits={**SPLITS, "train": "cab"}), SIZES)
    assert [(record.image_id, record.path.stem) for record in data.records("train")] == [(1, "a"), (2, "b"), (3, "c")]


def test_splits_can_be_named(tmp_path):
    root = write_voc(tmp_path, splits={"trainval": "abc", "night": "de"})
    data = VOCDetectionData(root, SIZES, splits={"train": "trainval", "val": "night", "test": "night"})
    assert stems(data, "train") == ["a", "b", "c"]
    assert stems(data, "test") == ["d", "e"]


def test_boxes_count_pixels_from_one_and_include_the_last(tmp_path):
    """detectron2 and the devkit: one pixel is xmin = xmax; the whole image is 1, 1, width, height."""
    whole, pixel = ("cat", (1, 1, 64, 48)), ("dog", (5, 6, 5, 6), 1)
    record = VOCDetectionData(write_voc(tmp_path, objects=[whole, pixel], splits=SPLITS), SIZES).records("val")[0]
    np.testing.assert_array_equal(record.boxes, [[0, 0, 64, 48], [4, 5, 5, 6]])
    np.testing.assert_array_equal(record.area, [64 * 48, 1])
    np.testing.assert_array_equal(record.difficult, [False, True])
    np.testing.assert_array_equal(record.ignore, [False, True])
    assert not record.crowd.any()


def test_difficult_objects_can_be_trained_on(tmp_path):
    root = write_voc(tmp_path, objects=[("dog", (5, 6, 7, 8), 1)], splits=SPLITS)
    record = VOCDetectionData(root, SIZES, keep_difficult=True).records("val")[0]
    assert record.difficult.tolist() == [True]
    assert record.ignore.tolist() == [False]


def test_classes_are_sorted_names_of_all_splits_or_as_given(tmp_path):
    root = write_voc(tmp_path, splits={"train": "abc", "val": "d"})
    write_xml(root, "d", voc_xml([("ant", (1, 1, 20, 30)), CAT]))
    write_xml(root, "e", voc_xml([("in no split", (1, 1, 20, 30))]))
    assert VOCDetectionData(root, SIZES).class_names == ["ant", "cat"]
    data = VOCDetectionData(root, SIZES, classes=["dog", "cat", "ant"])
    assert data.records("val")[0].labels.tolist() == [2, 1]
    assert data.category_ids == [1, 2, 3]


def test_an_image_without_objects_is_legal(tmp_path):
    root = write_voc(tmp_path, splits=SPLITS)
    write_xml(root, "d", voc_xml())
    data = VOCDetectionData(root, SIZES)
    batch = next(iter(data.val_dataloader()))
    assert batch.targets[0].boxes.shape == batch.targets[0].image_boxes.shape == (0, 4)
    assert len(data.ground_truth("val")["images"]) == 1
    assert data.ground_truth("val")["annotations"] == []


@pytest.mark.parametrize("size", [(100, 200), (64, 48)])
def test_an_annotation_of_another_size_than_its_image_is_named(tmp_path, size):
    root = write_voc(tmp_path, splits=SPLITS)
    write_xml(root, "d", voc_xml([CAT], size=size))
    message = rf"d\.xml: its <size> says \(height, width\) = \({size[0]}, {size[1]}\), but d\.png has \(48, 64\)"
    with pytest.raises(DataError, match=message):
        VOCDetectionData(root, SIZES).records("val")


def test_a_missing_size_is_legal(tmp_path):
    root = write_voc(tmp_path, splits=SPLITS)
    write_xml(root, "d", voc_xml([CAT], size=None))
    assert VOCDetectionData(root, SIZES).records("val")[0].width == 64


def test_boxes_are_those_of_the_turned_image(tmp_path):
    root = write_voc(tmp_path, splits=SPLITS)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture(3).save(root / "JPEGImages" / "d.png", exif=exif)
    write_xml(root, "d", voc_xml([("cat", (1, 1, 48, 64))], size=(64, 48)))
    data = VOCDetectionData(root, SIZES)
    assert (data.records("val")[0].height, data.records("val")[0].width) == (64, 48)
    assert len(next(iter(data.val_dataloader())).targets) == 1


def test_a_box_partly_outside_is_clipped_with_a_warning(tmp_path, caplog):
    root = write_voc(tmp_path, objects=[("cat", (0, 40, 30, 60))], splits=SPLITS)
    record = VOCDetectionData(root, SIZES).records("val")[0]
    np.testing.assert_array_equal(record.boxes, [[0, 39, 30, 48]])
    assert "d.xml" in caplog.text
    assert "clipped" in caplog.text


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "bmp", "webp", "tif"])
def test_image_suffixes(tmp_path, suffix):
    root = write_voc(tmp_path, splits=SPLITS)
    (root / "JPEGImages" / "d.png").unlink()
    write_image(root / "JPEGImages" / f"d.{suffix}")
    assert stems(VOCDetectionData(root, SIZES), "val") == ["d"]


def test_an_unreadable_training_image_does_not_stop_setup(tmp_path):
    root = write_voc(tmp_path, splits=SPLITS)
    (root / "JPEGImages" / "b.png").write_bytes(b"")
    (root / "JPEGImages" / "c.png").write_bytes(b"")
    write_xml(root, "c", voc_xml([CAT], size=None))
    data = VOCDetectionData(root, SIZES, batch_size=3)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert [target.file_name for target in batch.targets] == ["a.png"] * 3
    assert set(batch.damaged) == {"b.png", "c.png"}


XMLS = {
    "is cut off": (voc_xml([CAT])[:60], "not readable as XML"),
    "is empty": ("", "not readable as XML"),
    "is no annotation": ("<html></html>", "<annotation>"),
    "has no box": ("<annotation><object><name>cat</name></object></annotation>", "object 1: cat has no <bndbox>"),
    "has no name": (voc_xml([("", (1, 1, 2, 2))]), "no <name>"),
    "has xmax < xmin": (voc_xml([("cat", (20, 1, 10, 30))]), "xmax < xmin"),
    "has ymax < ymin": (voc_xml([("cat", (1, 31, 10, 30))]), "ymax < ymin"),
    "has nan": (voc_xml([("cat", ("nan", 1, 10, 30))]), "<xmin>.*finite.*'nan'"),
    "has inf": (voc_xml([("cat", (1, 1, "inf", 30))]), "<xmax>.*finite.*'inf'"),
    "has text": (voc_xml([("cat", (1, "top", 10, 30))]), "<ymin>.*'top'"),
    "has an empty number": (voc_xml([("cat", (1, 1, 10, ""))]), "<ymax>"),
    "is outside": (voc_xml([("cat", (65, 1, 80, 30))]), "outside the 64x48 image"),
    "is far outside": (voc_xml([("cat", (-30, -30, -5, -5))]), "outside the 64x48 image"),
    "has an unknown class": (voc_xml([("dog", (1, 1, 20, 30))]), r"unknown class 'dog'.*\['cat'\]"),
    "has an unknown flag": (voc_xml([("cat", (1, 1, 20, 30), "maybe")]), "<difficult> of cat.*'maybe'"),
    "is a bomb": (
        '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation><object>&c;</object></annotation>',
        "DOCTYPE",
    ),
    "reads a file": ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>', "DOCTYPE"),
    "has an unknown encoding": ('<?xml version="1.0" encoding="klingon"?><annotation/>', "not readable as XML"),
    "is too large": ("<annotation>" + " " * (10 * 2**20) + "</annotation>", "larger than"),
}


@pytest.mark.parametrize("kind", XMLS)
def test_bad_xml_is_named(tmp_path, kind):
    text, message = XMLS[kind]
    root = write_voc(tmp_path, splits=SPLITS)
    write_xml(root, "d", text)
    data = VOCDetectionData(root, SIZES, classes=["cat"])
    with pytest.raises(DataError, match=rf"d\.xml.*{message}"):
        data.setup("validate")


def test_bad_files_of_other_splits_do_not_matter(tmp_path):
    root = write_voc(tmp_path, splits={**SPLITS, "test": ["no such image"]})
    write_xml(root, "a", "nonsense")
    data = VOCDetectionData(root, SIZES)
    assert data.class_names == ["cat"]
    data.setup("validate")
    with pytest.raises(DataError, match=r"a\.xml"):
        data.setup("fit")


def test_missing_files_are_named(tmp_path):
    root = write_voc(tmp_path, splits={**SPLITS, "test": ["nothing"]})
    (root / "JPEGImages" / "a.png").unlink()
    (root / "Annotations" / "d.xml").unlink()
    data = VOCDetectionData(root, SIZES)
    with pytest.raises(DataError, match=r"a\.xml: there is no image a\."):
        data.setup("fit")
    with pytest.raises(DataError, match=r"d\.png: there is no d\.xml"):
        data.setup("validate")
    with pytest.raises(DataError, match=r"nothing: there is no image"):
        data.setup("test")


@pytest.mark.parametrize(("suffix", "cure"), [("xml", "add it"), ("png", "add it, or remove the XML file")])
def test_a_plain_folder_needs_both_files_of_each_name(tmp_path, suffix, cure):
    root = write_voc(tmp_path, "abcdefghij", folders=(".", "."))
    (root / f"e.{suffix}").unlink()
    with pytest.raises(DataError, match=rf"e\.(png|xml): there is no .*; {cure}"):
        VOCDetectionData(root, SIZES).setup("validate")


def test_a_missing_list_says_which_exist(tmp_path):
    data = VOCDetectionData(write_voc(tmp_path, splits={"train": "abc", "trainval": "de"}), SIZES)
    assert data.class_names == ["cat"]
    with pytest.raises(DataError, match=r"val\.txt: no such split; there are \['train', 'trainval'\]"):
        data.setup("fit")


@pytest.mark.parametrize(("lines", "message"), [([], "empty"), (["a", "b", "a"], "more than once: a")])
def test_bad_lists_are_named(tmp_path, lines, message):
    root = write_voc(tmp_path, splits={**SPLITS, "val": lines})
    with pytest.raises(DataError, match=rf"val\.txt.*{message}"):
        VOCDetectionData(root, SIZES).setup("validate")


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        VOCDetectionData(tmp_path / "nowhere", SIZES).setup("fit")
    with pytest.raises(DataError, match="neither images nor XML files; expected JPEGImages"):
        VOCDetectionData(tmp_path, SIZES).setup("fit")


def test_two_images_of_one_name_are_refused(tmp_path):
    root = write_voc(tmp_path, splits=SPLITS)
    write_image(root / "JPEGImages" / "d.jpg")
    with pytest.raises(DataError, match=r"d\.png: has the same name as d\.jpg"):
        VOCDetectionData(root, SIZES).setup("fit")


def test_too_few_images_to_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="4 images are too few"):
        VOCDetectionData(write_voc(tmp_path, "abcd"), SIZES).setup("fit")


def test_a_set_without_objects_needs_class_names(tmp_path):
    root = write_voc(tmp_path, objects=(), splits=SPLITS)
    with pytest.raises(DataError, match="set `classes`"):
        _ = VOCDetectionData(root, SIZES).class_names
    assert len(VOCDetectionData(root, SIZES, classes=["cat"]).records("train")) == 3


@pytest.mark.parametrize("options", [{"splits": {"night": "a"}}, {"classes": []}, {"classes": ["a", "a"]}])
def test_bad_arguments_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        VOCDetectionData(tmp_path, SIZES, **options)


@pytest.mark.parametrize("lists", [None, "NFC", "NFD"])
def test_names_of_either_form_are_one(tmp_path, lists):
    """macOS writes ä as two characters (NFD), others as one (NFC)."""
    names = [f"Bär{i}" for i in range(5)]
    for seed, name in enumerate(names):
        write_image(tmp_path / "JPEGImages" / f"{unicodedata.normalize('NFD', name)}.png", seed)
        write_xml(tmp_path, unicodedata.normalize("NFC", name), voc_xml([CAT]))
    if lists:
        members = [unicodedata.normalize(lists, name) for name in names]
        write_voc(tmp_path, "", splits={"train": members[:4], "val": members[4:]})
    data = VOCDetectionData(tmp_path, SIZES)
    data.setup("fit")
    assert [len(data.records(split)) for split in ("train", "val")] == [4, 1]


def test_a_list_that_is_not_utf_8_is_named(tmp_path):
    root = write_voc(tmp_path, splits=SPLITS)
    (root / "ImageSets" / "Main" / "val.txt").write_bytes("Bär\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"val\.txt: the list cannot be read .*save it as UTF-8"):
        VOCDetectionData(root, SIZES).setup("fit")
    (error,) = VOCDetectionData(root, SIZES).check().errors
    assert "the val split cannot be read" in error
    assert "val.txt" in error
