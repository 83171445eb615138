import json
import logging
import pickle
import unicodedata

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from voc_sets import coco_content, write_coco, write_image

from bnn_tasks.data import Augment, CocoDetectionData, DataError, check
from bnn_tasks.data.coco_file import read_coco

SIZES = [(48, 64)]


def changed(kind, position, **changes):
    content = coco_content()
    content[kind][position].update(changes)
    return content


def test_labels_ids_and_crowds(tmp_path):
    data = CocoDetectionData(write_coco(tmp_path), SIZES)
    assert data.class_names == ["cat", "dog"]
    assert data.category_ids == [3, 7]
    first, second = data.records("val")
    assert (first.image_id, first.path.name, second.image_id) == (10, "a.png", 20)
    np.testing.assert_array_equal(first.boxes, [[1.5, 2, 11.5, 22], [30, 2, 40, 22]])
    assert first.labels.tolist() == [1, 0]
    assert first.area.tolist() == [120.5, 200]
    assert second.crowd.tolist() == second.ignore.tolist() == [True]
    assert not first.crowd.any()
    (batch,) = data.val_dataloader()
    assert [target.image_id for target in batch.targets] == [10, 20]


def test_ground_truth_repeats_the_file(tmp_path, capsys):
    data = CocoDetectionData(write_coco(tmp_path), SIZES)
    coco = COCO()
    coco.dataset = data.ground_truth("val")
    coco.createIndex()
    original = COCO(str(tmp_path / "annotations" / "instances_val2017.json"))
    assert sorted(coco.getImgIds()) == sorted(original.getImgIds())
    for image_id in original.getImgIds():
        ours, theirs = (c.loadAnns(c.getAnnIds(imgIds=[image_id])) for c in (coco, original))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a["bbox"], b["bbox"])
            assert (a["category_id"], a["iscrowd"]) == (b["category_id"], b["iscrowd"])
            assert a["area"] == b.get("area", b["bbox"][2] * b["bbox"][3])


def test_pictures_of_one_name_in_two_folders_are_told_apart(tmp_path):
    content = coco_content()
    for entry, name in zip(content["images"], ("x/1.png", "y/1.png")):
        entry["file_name"] = name
        write_image(tmp_path / "val2017" / name)
    data = CocoDetectionData(write_coco(tmp_path, val=content), SIZES)
    names = {image["id"]: image["file_name"] for image in data.ground_truth("val")["images"]}
    assert names == {20: "x/1.png", 10: "y/1.png"}
    (batch,) = data.val_dataloader()
    assert {target.image_id: target.file_name for target in batch.targets} == names


def test_val_stands_in_for_test(tmp_path, caplog):
    data = CocoDetectionData(write_coco(tmp_path), SIZES)
    with caplog.at_level(logging.INFO):
        assert [record.path for record in data.records("test")] == [record.path for record in data.records("val")]
    assert any("the test split is the val split" in message for message in caplog.messages)


def test_a_box_without_area_is_left_out_with_a_warning(tmp_path, caplog):
    data = CocoDetectionData(write_coco(tmp_path, val=changed("annotations", 0, bbox=[1, 2, 0, 5])), SIZES)
    assert data.records("val")[0].labels.tolist() == [0]
    assert "no area" in caplog.text


def test_a_box_beyond_the_edge_is_clipped_on_the_canvas_alone(tmp_path, caplog):
    data = CocoDetectionData(write_coco(tmp_path, val=changed("annotations", 0, bbox=[-5, 2, 20, 60])), SIZES)
    (batch,) = data.val_dataloader()
    np.testing.assert_allclose(batch.targets[0].boxes[0], [0, 2, 15, 48])
    np.testing.assert_allclose(batch.targets[0].image_boxes[0], [-5, 2, 15, 62])
    assert "reaches beyond" in caplog.text


def test_a_box_that_the_canvas_rounds_away_is_ignored(tmp_path):
    data = CocoDetectionData(write_coco(tmp_path, val=changed("annotations", 0, bbox=[63.9999999, 2, 5, 5])), SIZES)
    (batch,) = data.val_dataloader()
    assert batch.targets[0].ignore.tolist() == [True, False]


BAD = {
    "category id": (changed("annotations", 0, category_id=4), "category_id` 4 is no category"),
    "image id": (changed("annotations", 0, image_id=11), "image_id` 11 is no image"),
    "boolean id": (changed("images", 0, id=True), "`id` to be an integer.*True"),
    "short box": (changed("annotations", 0, bbox=[1, 2, 3]), r"`bbox`.*\[1, 2, 3\]"),
    "no box": (changed("annotations", 0, bbox=None), "`bbox`"),
    "nan": (changed("annotations", 0, bbox=[1, 2, float("nan"), 5]), "`bbox`.*finite.*nan"),
    "integer": (changed("annotations", 0, bbox=[1, 2, 10**400, 5]), "`bbox`.*finite"),
    "text": (changed("annotations", 0, bbox=["1", 2, 3, 5]), "`bbox`.*'1'"),
    "area": (changed("annotations", 0, area="big"), "`area`.*'big'"),
    "negative area": (changed("annotations", 0, area=-5), "id 1: expected `area` to be at least 0.*-5"),
    "crowd": (changed("annotations", 0, iscrowd=2), "`iscrowd`.*2"),
    "outside": (changed("annotations", 0, bbox=[64, 0, 5, 5]), "outside image 10 of 64x48"),
    "height": (changed("images", 1, height=0), "`height`.*at least 1.*0"),
    "file name": (changed("images", 1, file_name=5), "`file_name`.*5"),
    "no id": (changed("annotations", 0, id=None), "`id`.*None"),
    "annotation twice": (changed("annotations", 2, id=1), r"annotations\[2\], id 1: a second annotation of this id"),
    "image twice": (changed("images", 1, id=20), "second image"),
    "file twice": (changed("images", 1, file_name="b.png"), r"a second image of the file 'b\.png'"),
    "category twice": (changed("categories", 1, id=7), "second category"),
    "name twice": (changed("categories", 1, name="dog"), "second category"),
    "category name": (changed("categories", 1, name=""), "`name`"),
    "entry": (coco_content(annotations=[3]), r"annotations\[0\]: expected an object"),
    "no list": (coco_content(annotations=None), "list 'annotations'"),
    "no categories": (coco_content(categories=[]), "no categor"),
    "no images": (coco_content(images=[], annotations=[]), "no pictures"),
    "other categories": (coco_content(categories=[{"id": 3, "name": "cat"}, {"id": 7, "name": "cow"}]), "categories"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named(tmp_path, kind):
    content, message = BAD[kind]
    data = CocoDetectionData(write_coco(tmp_path, val=content), SIZES)
    with pytest.raises(DataError, match=rf"{message}") as error:
        data.setup("validate")
    assert "instances_val2017.json" in str(error.value) or kind == "no images"


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\xff"])
def test_no_coco_file_at_all_is_named(tmp_path, text):
    write_coco(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"instances_val2017\.json"):
        CocoDetectionData(tmp_path, SIZES).setup("validate")


def test_category_ids_may_have_gaps_up_to_any_size(tmp_path):
    content = coco_content()
    for kind, key in (("categories", "id"), ("annotations", "category_id")):
        for entry in content[kind]:
            entry[key] = {7: 10_000, 3: 41}[entry[key]]
    data = CocoDetectionData(write_coco(tmp_path, content, content), SIZES)
    assert data.category_ids == [41, 10_000]
    assert data.records("val")[0].labels.tolist() == [1, 0]
    assert [found["category_id"] for found in data.ground_truth("val")["annotations"]] == [10_000, 41, 41]


def test_a_class_without_an_object_in_train_is_a_warning(tmp_path, caplog):
    data = CocoDetectionData(write_coco(tmp_path, coco_content(annotations=[])), SIZES)
    data.setup("fit")
    assert "no object in the train split, so not to be learnt" in caplog.text
    assert "cat, dog" in caplog.text
    report = check(data)
    assert [m for m in report.warnings if "train split, so it cannot be learnt" in m] == [
        f"class {name!r} has no objects in the train split, so it cannot be learnt" for name in ("cat", "dog")
    ]


def test_a_class_of_crowds_alone_is_a_warning(tmp_path, caplog):
    content = coco_content()
    content["annotations"][0]["iscrowd"] = 1  # the only dog
    data = CocoDetectionData(write_coco(tmp_path, content), SIZES)
    data.setup("fit")
    assert "do not count): dog" in caplog.text
    expected = "class 'dog' has only difficult or crowd objects in the train split, so it cannot be learnt"
    assert expected in check(data).warnings


def test_a_batch_in_which_no_image_has_an_object(tmp_path):
    data = CocoDetectionData(write_coco(tmp_path, coco_content(annotations=[])), SIZES, train_augment=Augment())
    (batch,) = data.train_dataloader()
    for target in batch.targets:
        assert target.boxes.shape == target.image_boxes.shape == (0, 4)
        assert target.labels.shape == target.ignore.shape == target.area.shape == (0,)
        assert (target.boxes.dtype, target.labels.dtype) == (torch.float32, torch.int64)


def test_missing_files_say_what_to_fetch(tmp_path):
    with pytest.raises(DataError, match=r"no such annotation file.*annotations_trainval2017\.zip"):
        _ = CocoDetectionData(tmp_path, SIZES).class_names
    write_coco(tmp_path)
    (tmp_path / "train2017").rename(tmp_path / "train")
    with pytest.raises(DataError, match=r"train2017: no such image folder.*train2017\.zip"):
        CocoDetectionData(tmp_path, SIZES).setup("fit")


def test_missing_images_are_named(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "val2017" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 images are not in .*val2017: b\.png"):
        CocoDetectionData(tmp_path, SIZES).setup("validate")


def test_many_missing_images_are_counted(tmp_path):
    images = [{"id": i, "file_name": f"no{i}.png", "height": 4, "width": 4} for i in range(30)]
    write_coco(tmp_path, val=coco_content(images=images, annotations=[]))
    with pytest.raises(DataError, match=r"30 images are not in .*no4\.png and 25 more"):
        CocoDetectionData(tmp_path, SIZES).setup("validate")


def test_missing_folders_and_files_say_what_is_there(tmp_path):
    write_coco(tmp_path)
    val = {"val": "annotations/instances_val2017.json"}
    data = CocoDetectionData(tmp_path, SIZES, {"train": "annotations/nothing.json", **val})
    with pytest.raises(DataError, match=r"nothing\.json: no such annotation file.*instances_train2017\.json"):
        data.setup("fit")
    with pytest.raises(DataError, match="val2018: no such image folder"):
        CocoDetectionData(tmp_path, SIZES, images={"train": "train2017", "val": "val2018"}).setup("fit")
    data = CocoDetectionData(tmp_path, SIZES, val, {"val": "val2017"})
    with pytest.raises(DataError, match="no train split"):
        data.setup("fit")


def test_annotations_and_images_go_together(tmp_path):
    for options in ({"images": {"train": "x"}}, {"annotations": {"night": "a"}, "images": {"night": "a"}}):
        with pytest.raises(ValueError, match="same keys"):
            CocoDetectionData(tmp_path, SIZES, **options)


def test_own_files_and_nested_names(tmp_path):
    write_coco(tmp_path, val=changed("images", 0, file_name="deep/b.png"))
    (tmp_path / "val2017" / "deep").mkdir()
    (tmp_path / "val2017" / "b.png").rename(tmp_path / "val2017" / "deep" / "b.png")
    (tmp_path / "own.json").write_text(json.dumps(coco_content()))
    data = CocoDetectionData(
        tmp_path,
        SIZES,
        {"train": "own.json", "val": "annotations/instances_val2017.json", "test": "own.json"},
        {"train": "train2017", "val": "val2017", "test": "train2017"},
    )
    data.setup("fit")
    data.setup("test")
    assert len(data.records("test")) == 2


def test_an_image_of_another_size_than_its_entry_is_named_before_a_fit(tmp_path):
    write_image(write_coco(tmp_path) / "val2017" / "a.png", size=(64, 48))
    fault = r"instances_val2017\.json: the entry of a\.png says 64x48 pixels, but .*a\.png is 48x64;"
    with pytest.raises(DataError, match=fault):
        CocoDetectionData(tmp_path, SIZES).setup("fit")
    (tmp_path / "val2017" / "a.png").write_bytes(b"no picture")  # which evaluation names, and training replaces
    CocoDetectionData(tmp_path, SIZES).setup("fit")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_images_in_linked_folders_and_of_names_in_either_form_are_met(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = ["./a.png", unicodedata.normalize(form, "linked/Bär.png")]
    content = coco_content()
    for entry, name in zip(content["images"], names):
        entry["file_name"] = name
    write_coco(tmp_path, val=content)
    write_image(tmp_path / "elsewhere" / unicodedata.normalize(other, "Bär.png"))
    (tmp_path / "val2017" / "linked").symlink_to(tmp_path / "elsewhere")
    data = CocoDetectionData(tmp_path, SIZES)
    assert {record.name for record in data.records("val")} == set(names)
    assert len(next(iter(data.val_dataloader())).targets) == 2


def test_each_file_is_parsed_once_and_not_kept(tmp_path, monkeypatch):
    parsed = []

    def parse(path, findings):
        parsed.append(path.name)
        return read_coco(path, findings)

    monkeypatch.setattr("bnn_tasks.data.coco_file.read_coco", parse)
    write_coco(tmp_path, train=changed("annotations", 0, bbox=[1, 2, 0, 5]))
    data = CocoDetectionData(tmp_path, SIZES)
    assert data.class_names == ["cat", "dog"]
    others = pickle.loads(pickle.dumps(data))
    held = len(pickle.dumps(data))
    data.setup("fit")
    assert parsed == ["instances_train2017.json", "instances_val2017.json"]
    data._records.clear()
    assert len(pickle.dumps(data)) == held
    others.setup("fit")
    assert [record.name for record in others.records("train")] == ["a.png", "b.png"]
    parsed.clear()
    report = check(CocoDetectionData(tmp_path, SIZES))
    assert parsed == ["instances_train2017.json", "instances_val2017.json"]  # test is val
    assert sum("no area" in text for text in report.warnings) == 1
