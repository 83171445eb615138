from voc_sets import coco_content, voc_xml, write_coco, write_image, write_voc, write_xml

from bnn_tasks.data import CocoDetectionData, SyntheticDetectionData, VOCDetectionData, check

SIZES = [(48, 64)]
CAT = ("cat", (1, 1, 20, 30))
SPLITS = {"train": "abc", "val": "de", "test": "fg"}


def test_a_good_set_is_clean(tmp_path):
    write_voc(tmp_path, "abcdefg", [CAT, ("dog", (3, 3, 30, 40), 1), ("dog", (31, 3, 60, 40))], SPLITS)
    report = check(VOCDetectionData(tmp_path, SIZES))
    assert report.errors == report.warnings == report.suggestions == []
    assert {split: summary.images for split, summary in report.splits.items()} == {"train": 3, "val": 2, "test": 2}
    assert report.splits["train"].objects.tolist() == [3, 6]
    assert report.splits["train"].difficult == 3
    assert report.image_sizes == {(48, 64): 7}
    text = str(report)
    assert [line.split() for line in text.splitlines()[:2]] == [["train", "val", "test"], ["images", "3", "2", "2"]]
    assert "dog" in text
    assert "48x64: 7" in text
    assert "0 errors" in text


def test_everything_wrong_is_listed_at_once(tmp_path):
    write_voc(tmp_path, "abcdefgh", [CAT], {"train": "abcdx", "val": "aefg", "test": "h"})
    write_xml(tmp_path, "a", voc_xml([CAT, ("cat", (30, 1, 20, 30)), ("dog", (1, 1, 5, 5))]))
    write_xml(tmp_path, "b", "nonsense")
    write_xml(tmp_path, "c", voc_xml([CAT], size=(1, 1)))
    (tmp_path / "JPEGImages" / "d.png").write_bytes(b"")
    (tmp_path / "Annotations" / "e.xml").unlink()
    write_xml(tmp_path, "f", voc_xml([CAT, CAT]))
    write_xml(tmp_path, "g", voc_xml([("cat", (7, 7, 7, 9)), ("cat", (60, 1, 90, 30))]))
    report = check(VOCDetectionData(tmp_path, SIZES, classes=["cat", "cow"]))
    expected = {
        "a.xml: object 2": 1,  # once, though a is in train and in val
        "a.xml: unknown class 'dog'": 1,
        "b.xml: not readable": 1,
        "x: there is no image": 1,
        "d.png: not a readable picture": 1,
        "e.png: there is no e.xml": 1,
        "c.xml: its <size> says (height, width) = (1, 1)": 1,
    }
    for part, count in expected.items():
        assert sum(part in message for message in report.errors) == count, part
    assert len(report.errors) == sum(expected.values())
    for part in (
        "f.png: an object is there more than once",
        "g.png: the box [6.0, 6.0, 7.0, 9.0]",
        "g.xml: the cat box (60.0, 1.0, 90.0, 30.0) reaches beyond",
        "1 pictures are both in train and in val, a.png",
        "class 'cow' has no objects in any split",
    ):
        assert sum(part in message for message in report.warnings) == 1, part
    assert len(report.warnings) == 5
    assert "7 errors" in str(report)


def test_a_missing_list_is_an_error_and_a_missing_test_list_a_warning(tmp_path):
    write_voc(tmp_path, splits={"train": "abc"})
    report = check(VOCDetectionData(tmp_path, SIZES))
    assert ["val split" in message for message in report.errors] == [True]
    assert ["test split" in message for message in report.warnings] == [True]


def test_a_missing_folder_is_reported(tmp_path):
    report = check(VOCDetectionData(tmp_path / "nowhere", SIZES))
    assert len(report.errors) == 1
    assert "no such folder" in str(report)


def test_a_class_that_train_lacks_is_a_warning(tmp_path):
    write_voc(tmp_path, "abcdefg", [CAT], SPLITS)
    write_xml(tmp_path, "d", voc_xml([CAT, ("dog", (3, 3, 30, 40))]))
    report = check(VOCDetectionData(tmp_path, SIZES))
    assert report.warnings == ["class 'dog' has no objects in the train split, so it cannot be learnt"]


def test_small_boxes_and_grey_borders_are_suggestions(tmp_path):
    write_voc(tmp_path, "abcdefg", [CAT], SPLITS)
    report = check(VOCDetectionData(tmp_path, [(12, 64)]))
    assert len(report.suggestions) == 2
    assert "7 of 7 boxes (100%) are less than 8 pixels" in report.suggestions[0]
    assert "75% of a canvas is grey" in report.suggestions[1]


def test_a_val_list_that_is_trains_is_a_warning_and_is_counted(tmp_path):
    write_voc(tmp_path, "abcdefg", [CAT], {"train": "abc", "val": "abc", "test": "abc"})
    report = check(VOCDetectionData(tmp_path, SIZES))
    assert [message.partition(";")[0] for message in report.warnings] == [
        "3 pictures are both in train and in val, a.png among them",
        "3 pictures are both in train and in test, a.png among them",
    ]
    assert {split: summary.images for split, summary in report.splits.items()} == {"train": 3, "val": 3}
    assert report.image_sizes == {(48, 64): 6}


def test_coco_sets(tmp_path):
    content = coco_content()
    content["annotations"][0]["category_id"] = 5
    write_coco(tmp_path, val=content)
    write_image(tmp_path / "val2017" / "a.png", size=(30, 40))
    report = check(CocoDetectionData(tmp_path, SIZES))
    assert len(report.errors) == 2
    assert "category_id" in report.errors[0]
    assert "the entry of a.png says 64x48 pixels, but" in report.errors[1]
    assert report.splits["train"].crowd == 1
    assert not any("earlier" in message or "val" in message for message in report.warnings)
    assert any("the test split has the pictures of val, which are counted once" in text for text in report.suggestions)


def test_generated_sets(tmp_path):
    report = check(SyntheticDetectionData(tmp_path / "set", SIZES, images=10, image_size=(48, 64)))
    assert report.errors == []
    assert sum(summary.images for summary in report.splits.values()) == 10
