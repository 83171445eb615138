"""Every layout gives the masks that were written, with its own numbers turned into labels."""

import numpy as np
import pytest
import torch
from mask_sets import (
    SIZE,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_instances,
    write_mask,
    write_panoptic,
    write_picture,
    write_stuff,
    write_voc,
)
from PIL import Image

from bnn_tasks.data import (
    CamVidData,
    CityscapesData,
    CocoInstanceMaskData,
    CocoPanopticData,
    CocoStuffData,
    DataError,
    MaskFolderData,
    VOCSegmentationData,
)
from bnn_tasks.data.segmentation.colours import read_colour_table

CITYSCAPES_TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12}
CITYSCAPES_TRAIN_IDS |= {26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
COCO_GONE = np.array([12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91])


def same(values):
    return values


def camvid_labels(values):
    return np.where(values == 11, 255, values)


def cityscapes_labels(values):
    return np.vectorize(lambda value: CITYSCAPES_TRAIN_IDS.get(value, 255))(values)


def stuff_labels(values):
    return np.vectorize(lambda value: 255 if value == 255 else value - int((value > COCO_GONE - 1).sum()))(values)


# (writes the set, reads it, what a written mask means, classes)
SETS = {
    "folder": (write_folder, lambda root, **o: MaskFolderData(root, [SIZE], classes=["a", "b", "c"], **o), same, 3),
    "camvid": (write_camvid, lambda root, **o: CamVidData(root, [SIZE], **o), camvid_labels, 11),
    "voc": (write_voc, lambda root, **o: VOCSegmentationData(root, [SIZE], **o), same, 21),
    "cityscapes": (write_cityscapes, lambda root, **o: CityscapesData(root, [SIZE], **o), cityscapes_labels, 19),
    "stuff": (write_stuff, lambda root, **o: CocoStuffData(root, [SIZE], **o), stuff_labels, 171),
    "panoptic": (write_panoptic, lambda root, **o: CocoPanopticData(root, [SIZE], **o), same, 2),
    "instances": (write_instances, lambda root, **o: CocoInstanceMaskData(root, [SIZE], **o), same, 3),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("cache", [False, True])
def test_a_layout_gives_the_masks_that_were_written(tmp_path, name, cache):
    write, read, meaning, count = SETS[name]
    written = write(tmp_path)
    data = read(tmp_path, batch_size=2, cache=cache)
    assert len(data.class_names) == len(set(data.class_names)) == count
    for stage in ("fit", "test"):
        data.setup(stage)
    shown = {}
    for loader, names in (
        (data.train_dataloader(), "abcde"),
        (data.val_dataloader(), "fg"),
        (data.test_dataloader(), "fg"),  # no test split: val
        (data.predict_dataloader(), "fg"),
    ):
        seen = []
        for batch in loader:
            assert batch.images.dtype == torch.float32
            assert batch.masks.dtype == torch.int64
            assert batch.masks.shape == (len(batch.targets), *SIZE)
            for mask, target in zip(batch.masks, batch.targets):
                seen.append(target.file_name.split("/")[-1][0])
                shown[seen[-1]] = target.mask
                assert torch.equal(mask, target.mask.long())
        assert sorted(seen) == list(names)
    for key, mask in shown.items():
        assert mask.dtype == torch.uint8
        np.testing.assert_array_equal(mask.numpy(), meaning(written[key]))


@pytest.mark.parametrize("name", SETS)
def test_a_good_set_has_no_errors(tmp_path, name):
    write, read, meaning, count = SETS[name]
    written = write(tmp_path)
    report = read(tmp_path).check()
    assert report.errors == []
    assert list(report.splits) == ["train", "val"]
    train = np.concatenate([meaning(written[key]).ravel() for key in "abcde"])
    np.testing.assert_array_equal(report.splits["train"].pixels, np.bincount(train, minlength=256)[:count])
    assert report.splits["train"].void == (train == 255).sum()
    assert report.splits["train"].images == 5


def test_the_official_names_stand_at_their_labels(tmp_path):
    assert CamVidData(tmp_path, [SIZE]).class_names[8] == "Car"
    voc = VOCSegmentationData(tmp_path, [SIZE]).class_names
    assert (voc[0], voc[1], voc[15], voc[20]) == ("background", "aeroplane", "person", "tvmonitor")
    assert CityscapesData(tmp_path, [SIZE]).class_names[CITYSCAPES_TRAIN_IDS[26]] == "car"
    stuff = CocoStuffData(tmp_path, [SIZE]).class_names
    assert (stuff[0], stuff[79], stuff[80], stuff[170]) == ("person", "toothbrush", "banner", "wood")
    assert stuff[11] == "stop sign"  # id 13; 12 is not in COCO


def test_cityscapes_train_ids_are_labels_already(tmp_path):
    write_cityscapes(tmp_path)
    values = np.random.default_rng(0).choice([*range(19), 255], SIZE)
    for name in "fg":
        write_mask(tmp_path / "gtFine" / "val" / "ulm" / f"{name}_gtFine_labelTrainIds.png", values)
    data = CityscapesData(tmp_path, [SIZE], encoding="labelTrainIds")
    np.testing.assert_array_equal(next(iter(data.val_dataloader())).masks[0].numpy(), values)
    with pytest.raises(ValueError, match="Expected `encoding`"):
        CityscapesData(tmp_path, [SIZE], encoding="color")


def test_voc_reads_the_folder_and_the_list_that_are_named(tmp_path):
    write_voc(tmp_path)
    write_mask(tmp_path / "SegmentationClassAug" / "b.png", np.full(SIZE, 7), "P")
    (tmp_path / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("b\n")
    data = VOCSegmentationData(tmp_path, [SIZE], masks="SegmentationClassAug", splits={"train": "trainaug"})
    (batch,) = data.train_dataloader()
    assert batch.masks.unique().tolist() == [7]


def test_voc_names_what_is_missing(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    (tmp_path / "SegmentationClass" / "b.png").unlink()
    errors = VOCSegmentationData(tmp_path, [SIZE]).check().errors
    assert len(errors) == 2
    assert "no picture a.*" in errors[0]
    assert "no mask b.*" in errors[1]
    with pytest.raises(DataError, match=r"no such split; there are \['train', 'val'\]"):
        VOCSegmentationData(tmp_path, [SIZE], splits={"val": "other"}).setup("validate")


def test_voc_is_fetched_only_to_where_the_archive_puts_it(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"VOCdevkit/VOC<year>.*Cure: root: "):
        VOCSegmentationData(tmp_path, [SIZE], download=True)

    def offline(root, year, image_set, download):
        raise OSError(f"no network for {year} {image_set}")

    monkeypatch.setattr("bnn_tasks.data.segmentation.voc.VOCSegmentation", offline)
    data = VOCSegmentationData(tmp_path / "VOCdevkit" / "VOC2012", [SIZE], download=True)
    with pytest.raises(DataError, match=r"no network for 2012 train.*unpack"):
        data.prepare_data()
    fetched = []
    monkeypatch.setattr(
        "bnn_tasks.data.segmentation.voc.VOCSegmentation", lambda *given, download: fetched.append(given[2])
    )
    root = tmp_path / "VOCdevkit" / "VOC2007"
    VOCSegmentationData(root, [SIZE], download=True).prepare_data()
    VOCSegmentationData(root, [SIZE], download=True, splits={"test": "test"}).prepare_data()
    assert fetched == ["train", "val", "test", "train", "val"]
    with pytest.raises(DataError, match=r"trainaug is missing, and it is none of VOC's own"):
        VOCSegmentationData(root, [SIZE], download=True, splits={"train": "trainaug"}).prepare_data()


def test_a_test_split_that_is_named_is_no_other(tmp_path):
    write_voc(tmp_path / "voc")
    write_folder(tmp_path / "folder")
    (tmp_path / "folder" / "classes.txt").write_text("a\nb\nc\n")
    for data in (
        VOCSegmentationData(tmp_path / "voc", [SIZE], splits={"test": "test"}),
        MaskFolderData(tmp_path / "folder", [SIZE], splits={"test": "test"}),
    ):
        with pytest.raises(DataError, match="test"):
            data.records("test")


def test_class_names_that_are_no_text_are_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"classes\.txt: the class names cannot be read.*UTF-8"):
        len(MaskFolderData(tmp_path, [SIZE]).class_names)


def test_classes_and_split_come_from_the_folder(tmp_path):
    written = write_folder(tmp_path, splits=(("", "abcdefghijk"),), images="pictures", masks="labels")
    (tmp_path / "classes.txt").write_text("sky\n\nroad \ncar\n")
    data = MaskFolderData(tmp_path, [SIZE], "pictures", "labels")
    assert data.class_names == ["sky", "road", "car"]
    assert [record.path.stem for record in data.records("val")] == ["e", "j"]
    assert [record.path.stem for record in data.records("test")] == ["e", "j"]
    assert [record.path.stem for record in data.records("train")] == list("abcdfghik")
    np.testing.assert_array_equal(next(iter(data.val_dataloader())).masks[0], written["e"])


def test_masks_beside_their_pictures(tmp_path):
    for name in "abcde":
        write_picture(tmp_path / "all" / f"{name}.jpg")
        write_mask(tmp_path / "all" / f"{name}_mask.png", np.zeros(SIZE))
    data = MaskFolderData(tmp_path, [SIZE], "all", "all", mask_end="_mask", classes=["a"])
    assert [(record.path.name, record.mask.name) for record in data.records("val")] == [("e.jpg", "e_mask.png")]
    assert len(data.records("train")) == 4


def test_numbers_that_do_not_count_from_nought(tmp_path):
    write_folder(tmp_path)
    for split, name in (("val", "f"), ("val", "g")):
        write_mask(tmp_path / "masks" / split / f"{name}.png", [[0, 255] * 4] * 6)
    data = MaskFolderData(tmp_path, [SIZE], classes=["back", "fore"], values=[0, 255], void=[])
    assert next(iter(data.val_dataloader())).masks[0, 0].tolist() == [0, 1] * 4


TABLE = "# by hand\nred green blue name\n0 0 0 void\n10 20 30 car park\n1,2,3,sky\n"


@pytest.mark.parametrize("table", ["dict", "colours.txt", "colours.csv"])
def test_rgb_coded_masks(tmp_path, table):
    colours = {"void": [0, 0, 0], "car park": [10, 20, 30], "sky": [1, 2, 3]}
    (tmp_path / "colours.txt").write_text(TABLE)
    (tmp_path / "colours.csv").write_text("name;r;g;b\nvoid;0;0;0\ncar park;10;20;30\nsky;1;2;3\n")
    values = np.random.default_rng(0).integers(0, 3, SIZE)
    for split, name in (("train", "a"), ("val", "b")):
        write_picture(tmp_path / "images" / split / f"{name}.png")
        write_mask(tmp_path / "masks" / split / f"{name}.png", np.array(list(colours.values()))[values])
    given = colours if table == "dict" else table
    data = MaskFolderData(tmp_path, [SIZE], classes=["sky", "car park"], colours=given)
    np.testing.assert_array_equal(next(iter(data.val_dataloader())).masks[0], np.array([255, 1, 0])[values])
    assert MaskFolderData(tmp_path, [SIZE], colours=given).class_names == ["void", "car park", "sky"]
    with pytest.raises(DataError, match="classes without a colour: sea"):
        list(MaskFolderData(tmp_path, [SIZE], classes=["sea"], colours=given).val_dataloader())


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_table_of_a_spreadsheet(tmp_path, mark):
    """Cells in quotes, empty columns, empty rows."""
    rows = [
        ["name", "r", "g", "b", ""],
        ['"road, wet"', "1", "2", "3", ""],
        [""] * 5,
        ['"a ""b"" c"', '"4"', "5", "6", ""],
    ]
    (tmp_path / "c.csv").write_text("\n".join(mark.join(row) for row in rows))
    assert read_colour_table(tmp_path / "c.csv") == {"road, wet": [1, 2, 3], 'a "b" c': [4, 5, 6]}


@pytest.mark.parametrize("first", ["bg,0.0,0.0,0.0", "void,-1,-1,-1", "red green blue\nname red green"])
def test_no_line_is_taken_for_a_heading_but_one_without_numbers(tmp_path, first):
    (tmp_path / "c.txt").write_text(f"{first}\n1 2 3 sky\n")
    with pytest.raises(DataError, match=r"c\.txt:[12]: expected three numbers and a name"):
        _ = MaskFolderData(tmp_path, [SIZE], colours="c.txt").class_names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 car", "2: expected three numbers and a name"),
        ("1 2 300 car", r"integers in 0\.\.255 for 'car', but got \[1, 2, 300\]"),
        ("9 9 9 sky", "2: 'sky' is there twice"),
        ("1 2 3 car", r"'sky' and 'car' for \[1, 2, 3\]"),
        ("1, car, 4, 5, 6", "2: expected name,red,green,blue, but got 5 columns"),
        (",4,5,6", "2: expected three numbers and a name"),
    ],
)
def test_a_bad_colour_table_is_named(tmp_path, line, message):
    (tmp_path / "c.txt").write_text(f"1 2 3 sky\n{line}\n")
    with pytest.raises(DataError, match=rf"c\.txt.*{message}"):
        _ = MaskFolderData(tmp_path, [SIZE], colours="c.txt").class_names
    with pytest.raises(DataError, match=r"none\.txt: the colour table cannot be read"):
        _ = MaskFolderData(tmp_path, [SIZE], colours="none.txt").class_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "images"}, "Expected both `images` and `masks`"),
        ({"images": ".", "masks": "x/.."}, "Expected `mask_end`"),
        ({"images": "", "masks": "masks"}, "one lies in the other"),
        ({"images": "a/../b", "masks": "b/masks", "mask_end": "_mask"}, "one lies in the other"),
        ({"images": "{split}", "masks": "{split}/masks"}, "one lies in the other"),
        ({"images": "masks/images", "masks": "masks"}, "one lies in the other"),
        ({"classes": []}, "1 to 255 names"),
        ({"classes": ["a", "a"]}, "without repetition"),
        ({"classes": [str(i) for i in range(256)]}, "1 to 255 names"),
        ({"classes": ["a"], "values": [0, 1]}, "one number a class"),
        ({"classes": ["a"], "values": [255]}, "each to have one meaning"),
        ({"classes": ["a"], "values": [0], "colours": {"a": [0, 0, 0]}}, "`values` and `void` to be left out"),
        ({"colours": {"a": [0, 0]}}, r"\[red, green, blue\]"),
        ({"colours": {}}, "at least one colour"),
        ({"splits": {"training": "a"}}, "Expected `splits`"),
        ({"cache_limit": 0}, "Expected `cache_limit`"),
        ({"channels": 2}, "Expected `channels`"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        MaskFolderData(tmp_path, [SIZE], **options)


def test_a_set_without_class_names_says_where_they_go(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(DataError, match=r"classes\.txt: no such file, and no `classes`"):
        _ = MaskFolderData(tmp_path, [SIZE]).class_names
    assert "classes.txt" in MaskFolderData(tmp_path, [SIZE]).check().errors[0]


def test_sixteen_bit_masks_of_many_numbers(tmp_path):
    write_folder(tmp_path)
    values = np.random.default_rng(0).choice([1000, 40000], SIZE)
    for name in "fg":
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / "masks" / "val" / f"{name}.png")
    data = MaskFolderData(tmp_path, [SIZE], classes=["a", "b"], values=[40000, 1000])
    np.testing.assert_array_equal(next(iter(data.val_dataloader())).masks[0], values == 1000)
