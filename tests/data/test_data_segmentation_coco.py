"""COCO's panoptic files and instances as class masks."""

import json
import math

import numpy as np
import pytest
from mask_sets import SIZE, write_instances, write_mask, write_panoptic, write_picture

from bnn_tasks.data import CocoInstanceMaskData, CocoPanopticData, DataError
from bnn_tasks.data.coco_file import read_coco
from bnn_tasks.runtime.images import ImageError


def test_panoptic_classes_are_in_the_order_of_their_ids(tmp_path):
    write_panoptic(tmp_path)
    assert CocoPanopticData(tmp_path, [SIZE]).class_names == ["cat", "sky"]


def test_a_panoptic_segment_that_the_file_does_not_know_is_an_error(tmp_path):
    write_panoptic(tmp_path)
    write_mask(tmp_path / "annotations" / "panoptic_val2017" / "f.png", np.full((*SIZE, 3), 9))
    data = CocoPanopticData(tmp_path, [SIZE])
    with pytest.raises(DataError, match=rf"f\.png: .* {9 + 9 * 256 + 9 * 65536} \(48 pixels\)"):
        list(data.val_dataloader())


@pytest.mark.parametrize("content", ["[", "[]", '{"categories": [], "annotations": [{}]}', None])
def test_a_bad_panoptic_file_is_named(tmp_path, content):
    write_panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_train2017.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=r"panoptic_train2017\.json"):
        _ = CocoPanopticData(tmp_path, [SIZE]).class_names


@pytest.mark.parametrize("id_", [math.inf, 1e999, 3.7, "3", None, True])
@pytest.mark.parametrize("where", ["categories", "segments_info"])
def test_an_id_that_is_no_integer_is_named(tmp_path, where, id_):
    write_panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    (content if where == "categories" else content["annotations"][0])[where][0]["id"] = id_
    path.write_text(json.dumps(content))
    (error, *_) = CocoPanopticData(tmp_path, [SIZE]).check().errors
    assert f"an id that is no integer, {id_!r}" in error


@pytest.mark.parametrize(("count", "legal"), [(255, True), (256, False), (302, False)])
def test_more_panoptic_categories_than_labels_are_refused(tmp_path, count, legal):
    write_panoptic(tmp_path)
    for split in ("train", "val"):
        path = tmp_path / "annotations" / f"panoptic_{split}2017.json"
        others = [{"id": 100 + i, "name": f"c{i}"} for i in range(count - 2)]
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"categories": content["categories"] + others}))
    data = CocoPanopticData(tmp_path, [SIZE])
    if legal:
        assert data.check().errors == []
        assert len(data.class_names) == count
        return
    (error,) = data.check().errors
    assert f"panoptic_train2017.json: {count} categories" in error
    with pytest.raises(DataError, match=f"{count} categories.*leave some out"):
        data.setup("fit")


def test_a_panoptic_file_that_contradicts_itself_is_named(tmp_path):
    write_panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_val2017.json"
    content = json.loads(path.read_text())
    first, second = content["annotations"]
    first["segments_info"] += [{"id": 0, "category_id": 3}, {"id": 255, "category_id": 7}, {"id": 9, "category_id": 99}]
    first["segments_info"].append({"id": 2**24, "category_id": 3})
    content["annotations"].append(second | {"segments_info": []})
    path.write_text(json.dumps(content))
    data = CocoPanopticData(tmp_path, [SIZE])
    faults = [
        "annotations[0], f.png: segment 0 is void",
        "annotations[0], f.png: segment 255 is there twice",
        "annotations[0], f.png: segment 9 has category 99, which the file lacks",
        "annotations[0], f.png: segment 16777216 is beyond what three colours hold; give it an id in 1..16777215",
        "annotations[2], g.png: a second annotation of this picture",
    ]
    found = [error.removeprefix(f"{path}: ") for error in data.check().errors]
    assert [fault for fault, error in zip(faults, found, strict=True) if error.startswith(fault)] == faults
    with pytest.raises(DataError, match="segment 0 is void"):
        data.setup("validate")
    path = tmp_path / "annotations" / "panoptic_train2017.json"
    for twice in ({"id": 3, "name": "dog"}, {"id": 8, "name": "cat"}):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"categories": [*content["categories"], twice]}))
        (error, *_) = CocoPanopticData(tmp_path, [SIZE]).check().errors
        assert f"panoptic_train2017.json: categories[2]: a second category of id {twice['id']} or name" in error
        path.write_text(json.dumps(content))


def test_instances_are_drawn_as_pycocotools_draws_them(tmp_path):
    """Crowds as RLE and polygons alike, where no classes overlap."""
    from pycocotools.coco import COCO

    write_instances(tmp_path)
    data = CocoInstanceMaskData(tmp_path, [SIZE])
    truth = COCO(str(tmp_path / "annotations" / "instances_val2017.json"))
    masks = {
        category: np.stack([truth.annToMask(a) for a in truth.loadAnns(truth.getAnnIds(1, category))]).any(0)
        for category in (3, 7)
    }
    drawn = next(iter(data.val_dataloader())).masks[0].numpy()
    np.testing.assert_array_equal(drawn == 1, masks[3] & ~masks[7])
    np.testing.assert_array_equal(drawn == 2, masks[7] & ~masks[3])
    np.testing.assert_array_equal(drawn == 255, masks[3] & masks[7])
    assert data.class_names == ["background", "cat", "dog"]


def test_an_entry_of_another_size_than_its_picture_is_named(tmp_path):
    write_instances(tmp_path)
    write_picture(tmp_path / "val2017" / "g.jpg", 0, SIZE[::-1])
    data = CocoInstanceMaskData(tmp_path, [SIZE])
    fault = r"instances_val2017\.json: the entry of g\.jpg says 8x6 pixels, but .*g\.jpg is 6x8;"
    with pytest.raises(DataError, match=fault):
        data.setup("fit")
    (error,) = data.check().errors
    assert "the entry of g.jpg" in error
    (tmp_path / "val2017" / "g.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"g\.jpg: not a readable picture"):
        CocoInstanceMaskData(tmp_path, [SIZE]).setup("fit")


def test_a_crowd_and_a_bad_polygon(tmp_path):
    write_instances(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = [content["annotations"][0]]
    content["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": list(SIZE), "counts": [6, 6, 36]}}
    path.write_text(json.dumps(content))
    drawn = next(iter(CocoInstanceMaskData(tmp_path, [SIZE]).val_dataloader())).masks[0].numpy()
    assert (drawn[:, 1] == 1).all()
    assert drawn.sum() == SIZE[0]
    content["annotations"][0]["segmentation"] = [[1, 2]]
    path.write_text(json.dumps(content))
    with pytest.raises(
        DataError,
        match=r"instances_val2017\.json: an object '(cat|dog)' of picture f\.jpg: .*polygon 0.*correct annotation 2",
    ):
        list(CocoInstanceMaskData(tmp_path, [SIZE]).val_dataloader())
    content["annotations"][0]["segmentation"] = [[1, 1, 5, 1, 1e10, 5]]  # which pycocotools must not meet
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"picture f\.jpg: .*to lie on the image.*correct annotation 2"):
        list(CocoInstanceMaskData(tmp_path, [SIZE]).val_dataloader())


def test_an_object_without_a_box_has_its_pixels(tmp_path):
    write_instances(tmp_path)
    before = next(iter(CocoInstanceMaskData(tmp_path, [SIZE]).val_dataloader())).masks
    path = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    path.write_text(json.dumps(content))
    np.testing.assert_array_equal(next(iter(CocoInstanceMaskData(tmp_path, [SIZE]).val_dataloader())).masks, before)


def test_a_category_called_background_is_refused(tmp_path):
    write_instances(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"dog"', '"background"'))
    (error,) = CocoInstanceMaskData(tmp_path, [SIZE]).check().errors
    assert "instances_train2017.json: a category is called 'background'" in error


def test_two_files_over_one_folder_draw_their_own_masks(tmp_path):
    write_instances(tmp_path)
    first = tmp_path / "annotations" / "instances_val2017.json"
    content = json.loads(first.read_text())
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] == 3]
    (tmp_path / "annotations" / "cats.json").write_text(json.dumps(content))
    files = {"train": "annotations/instances_train2017.json", "val": "annotations/instances_val2017.json"}
    folders = {"train": "train2017", "val": "val2017"}
    data = CocoInstanceMaskData(
        tmp_path,
        [SIZE],
        annotations=files | {"test": "annotations/cats.json"},
        images=folders | {"test": "val2017"},
        cache=True,
    )
    assert 2 in next(iter(data.val_dataloader())).masks
    assert 2 not in next(iter(data.test_dataloader())).masks


def test_instances_of_missing_pictures_and_folders_are_named(tmp_path):
    write_instances(tmp_path)
    (tmp_path / "val2017" / "g.jpg").unlink()
    with pytest.raises(DataError, match=r"instances_val2017\.json: 1 images are not in .*val2017: g\.jpg"):
        CocoInstanceMaskData(tmp_path, [SIZE]).setup("fit")
    (tmp_path / "val2017").rename(tmp_path / "val")
    with pytest.raises(DataError, match=r"val2017: no such image folder"):
        CocoInstanceMaskData(tmp_path, [SIZE]).setup("fit")


def test_each_instances_file_is_parsed_once(tmp_path, monkeypatch):
    parsed = []

    def parse(path, findings):
        parsed.append(path.name)
        return read_coco(path, findings)

    monkeypatch.setattr("bnn_tasks.data.coco_file.read_coco", parse)
    write_instances(tmp_path)
    data = CocoInstanceMaskData(tmp_path, [SIZE])
    assert data.class_names == ["background", "cat", "dog"]
    data.setup("fit")
    assert parsed == ["instances_train2017.json", "instances_val2017.json"]
