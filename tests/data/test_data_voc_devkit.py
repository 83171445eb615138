import urllib.error

import pytest
import torchvision
from voc_sets import voc_xml, write_image, write_voc, write_xml

import bnn_tasks.data.detection.voc_devkit as devkit
from bnn_tasks.data import DataError, VOCDevkitData, check

SIZES = [(48, 64)]
BOTH = {"train": ["2007_trainval", "2012_trainval"], "val": ["2007_test"], "test": ["2007_test"]}


@pytest.fixture
def root(tmp_path):
    """Both years have an image a: a dog in 2007, two persons in 2012."""
    root = tmp_path / "VOCdevkit"
    write_voc(root / "VOC2007", "abcde", [("dog", (1, 1, 20, 30))], {"train": "b", "trainval": "cab", "test": "ed"})
    people = [("person", (1, 1, 20, 30)), ("person", (5, 5, 40, 40), 1)]
    write_voc(root / "VOC2012", "aghi", people, {"trainval": "gha", "val": "i"})
    write_image(root / "VOC2012" / "JPEGImages" / "a.png", 9, (40, 40))
    write_xml(root / "VOC2012", "a", voc_xml(people, size=(40, 40)))
    return root


def test_the_default_is_07_12(root):
    data = VOCDevkitData(root, SIZES)
    train = data.records("train")
    assert [(r.path.parents[1].name, r.path.stem) for r in train] == [
        ("VOC2007", "a"),
        ("VOC2007", "b"),
        ("VOC2007", "c"),
        ("VOC2012", "a"),
        ("VOC2012", "g"),
        ("VOC2012", "h"),
    ]
    assert [r.path.stem for r in data.records("val")] == [r.path.stem for r in data.records("test")] == ["d", "e"]
    assert VOCDevkitData(root, SIZES, splits={"train": BOTH["train"]}).splits == BOTH


def test_images_of_one_name_in_two_years_are_two_images(root):
    data = VOCDevkitData(root, SIZES, batch_size=6)
    records = data.records("train")
    assert [record.image_id for record in records] == [1, 2, 3, 4, 5, 6]
    assert (records[0].height, records[3].height) == (48, 40)
    assert [len(records[0].labels), len(records[3].labels)] == [1, 2]
    (batch,) = data.train_dataloader()
    assert sorted(target.image_id for target in batch.targets) == [1, 2, 3, 4, 5, 6]
    truth = data.ground_truth("train")
    assert len({image["id"] for image in truth["images"]}) == 6
    assert [found["category_id"] for found in truth["annotations"] if found["image_id"] in (1, 4)] == [12, 15, 15]


def test_the_classes_are_torchvisions(root):
    categories = torchvision.models.detection.SSDLite320_MobileNet_V3_Large_Weights.DEFAULT.meta["categories"]
    names = {"aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle", "sofa": "couch"}
    names |= {"pottedplant": "potted plant", "tvmonitor": "tv"}
    data = VOCDevkitData(root, SIZES)
    assert len(data.class_names) == 20
    assert data.class_names == sorted(data.class_names)  # the official order is the alphabet's
    assert {names.get(name, name) for name in data.class_names} <= set(categories)
    assert data.category_ids == list(range(1, 21))
    voc = torchvision.models.segmentation.DeepLabV3_ResNet50_Weights.DEFAULT.meta["categories"]
    assert data.class_names == voc[1:]


def test_any_list_of_any_year(root):
    data = VOCDevkitData(root, SIZES, {"train": ["2012_val", "2007_train"], "val": ["2012_trainval"]})
    assert [r.path.stem for r in data.records("train")] == ["i", "b"]
    assert [r.path.stem for r in data.records("val")] == ["a", "g", "h"]


def test_check_reads_both_years(root):
    report = check(VOCDevkitData(root, SIZES))
    assert report.errors == []
    assert {split: summary.images for split, summary in report.splits.items()} == {"train": 6, "val": 2}
    assert int(report.splits["train"].objects.sum()) == 3 + 6
    assert sum("has no objects in any split" in message for message in report.warnings) == 18


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["2012_night"]}, r"night\.txt: no such split; there are \['trainval', 'val'\]"),
        ({"train": ["2007_trainval", "2007_train"]}, "b is in 2007_trainval and in 2007_train"),
    ],
)
def test_lists_at_fault_are_named(root, splits, message):
    with pytest.raises(DataError, match=message):
        VOCDevkitData(root, SIZES, splits).setup("fit")


def test_a_missing_year_says_what_is_there(root):
    with pytest.raises(DataError, match=r"VOC2012: no such folder; `root` has \[\].*`download` to true"):
        VOCDevkitData(root / "VOC2007", SIZES, {"train": ["2012_trainval"]}).setup("fit")
    (root / "VOC2007" / "ImageSets").rename(root / "VOC2007" / "Lists")
    with pytest.raises(DataError, match=r"VOC2007: it has no ImageSets/Main"):
        VOCDevkitData(root, SIZES).setup("test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": {"night": ["2007_test"]}}, "`splits` to have keys"),
        ({"splits": {"train": ["trainval"]}}, "\"2007_trainval\".*got 'trainval'"),
        ({"splits": {"train": ["2019_trainval"]}}, "2019_trainval"),
        ({"splits": {"train": ["2007_../../x"]}}, "2007_trainval"),
        ({"splits": {"train": []}}, "each list of train once"),
        ({"splits": {"train": ["2007_test", "2007_test"]}}, "each list of train once"),
    ],
)
def test_bad_arguments_are_named(root, options, message):
    with pytest.raises(ValueError, match=message):
        VOCDevkitData(root, SIZES, **options)


def test_download_fetches_what_is_missing(root, monkeypatch):
    fetched = []

    def fetch(folder, year, image_set, download):
        fetched.append((folder, year, image_set))
        write_voc(root / f"VOC{year}", "xy", [("cow", (1, 1, 20, 30))], {image_set: "xy"})

    monkeypatch.setattr(devkit, "VOCDetection", fetch)
    VOCDevkitData(root, SIZES, download=True).prepare_data()
    assert fetched == []
    (root / "VOC2007" / "ImageSets" / "Main" / "test.txt").unlink()
    data = VOCDevkitData(root, SIZES, download=True)
    data.prepare_data()
    assert fetched == [(root.parent, "2007", "test")]
    assert len(data.records("test")) == 2
    with pytest.raises(ValueError, match=r"Cure: root: .*VOC2007.VOCdevkit"):
        VOCDevkitData(root / "VOC2007", SIZES, download=True)


def test_a_download_without_network_is_one_clear_error(tmp_path, monkeypatch):
    def offline(*_args, **_kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", offline)
    data = VOCDevkitData(tmp_path / "VOCdevkit", SIZES, download=True)
    with pytest.raises(
        DataError, match=r"VOC2007: the list test.*no route to host.*unpack the archive of http"
    ) as error:
        data.prepare_data()
    assert "\n" not in str(error.value)
    assert check(data).errors == [str(error.value)]
