import logging

import numpy as np
import pytest
import torch
from voc_sets import picture, voc_xml, write_image, write_voc, write_xml

from bnn_tasks.data import Augment, DataError, VOCDetectionData
from bnn_tasks.data.detection.batch import collate
from bnn_tasks.data.detection.dataset import DetectionDataset
from bnn_tasks.runtime.images import ImageError

SPLITS = {"train": "abc", "val": "de", "test": "de"}


@pytest.fixture
def data(tmp_path):
    return VOCDetectionData(
        write_voc(tmp_path, objects=[("cat", (11, 21, 30, 40)), ("dog", (1, 1, 64, 48), 1)], splits=SPLITS), [(24, 64)]
    )


def test_a_sample_is_the_fitted_image_and_its_moved_boxes(data):
    sample = DetectionDataset(data.records("val"), data.resize)[1]
    canvas, placement = data.resize.fit(np.asarray(picture(4)))
    np.testing.assert_array_equal(sample.canvas, canvas)
    target = sample.target
    assert target.placement == placement
    # letterboxed to half size, 16 grey columns on the left
    np.testing.assert_allclose(target.boxes, [[21, 10, 31, 20], [16, 0, 48, 24]])
    np.testing.assert_allclose(target.image_boxes, [[10, 20, 30, 40], [0, 0, 64, 48]])
    np.testing.assert_allclose(target.area, [400, 64 * 48])
    assert target.labels.tolist() == [0, 1]
    assert target.difficult.tolist() == target.ignore.tolist() == [False, True]
    assert target.crowd.tolist() == [False, False]
    assert (target.image_id, target.file_name) == (2, "e.png")
    types = [
        target.boxes,
        target.labels,
        target.ignore,
        target.crowd,
        target.difficult,
        target.area,
        target.image_boxes,
    ]
    expected = [torch.float32, torch.int64, torch.bool, torch.bool, torch.bool, torch.float32, torch.float32]
    assert [tensor.dtype for tensor in types] == expected


def test_augmented_fields_stay_together(data):
    dataset = DetectionDataset(data.records("train"), data.resize, Augment(scale=(2, 4)))
    torch.manual_seed(0)
    counts = set()
    for _ in range(30):
        target = dataset[0].target
        n = len(target.boxes)
        counts.add(n)
        assert all(len(x) == n for x in (target.labels, target.ignore, target.area, target.image_boxes, target.crowd))
        assert target.ignore.tolist() == (target.labels == 1).tolist()
        moved = target.placement.to_canvas(target.image_boxes.numpy()).clip(0, [64, 24, 64, 24])
        np.testing.assert_allclose(target.boxes, moved, atol=1e-4)
    assert counts == {1, 2}, "the second, to be ignored, is always in view"


def test_collate_gives_float_images(data):
    dataset = DetectionDataset(data.records("val"), data.resize)
    batch = collate([dataset[0], dataset[1]])
    assert batch.images.shape == (2, 3, 24, 64)
    assert batch.images.dtype == torch.float32
    assert batch.images.is_contiguous()
    np.testing.assert_allclose(batch.images[1].permute(1, 2, 0), dataset[1].canvas / 255.0, atol=1e-7)
    assert [target.image_id for target in batch.targets] == [1, 2]
    assert batch.damaged == []


def test_a_damaged_training_image_is_replaced_and_named(data, caplog):
    records = data.records("train")
    records[1].path.write_bytes(records[1].path.read_bytes()[:200])
    dataset = DetectionDataset(records, data.resize, replace_damaged=True)
    with caplog.at_level(logging.WARNING):
        batch = collate([dataset[0], dataset[1], dataset[1]])
    assert [target.file_name for target in batch.targets] == ["a.png", "c.png", "c.png"]
    assert batch.damaged == ["b.png", "b.png"]
    assert sum("b.png" in message and "takes its place" in message for message in caplog.messages) == 1


def test_the_last_image_is_replaced_by_the_first(data):
    records = data.records("train")
    for record in records[1:]:
        record.path.write_bytes(b"")
    sample = DetectionDataset(records, data.resize, replace_damaged=True)[1]
    assert (sample.target.file_name, sample.damaged) == ("a.png", ["b.png", "c.png"])


def test_a_replacement_has_the_batch_size(tmp_path):
    data = VOCDetectionData(write_voc(tmp_path, splits=SPLITS), [(24, 64), (64, 24)])
    write_image(tmp_path / "JPEGImages" / "a.png", size=(90, 40))
    write_xml(tmp_path, "a", voc_xml([("cat", (1, 1, 20, 30))], size=(90, 40)))
    records = data.records("train")
    dataset = DetectionDataset(records, data.resize, replace_damaged=True)
    records[0].path.write_bytes(b"")
    assert dataset.sizes == [(64, 24), (24, 64), (24, 64)]
    assert dataset[0].canvas.shape == (64, 24, 3)
    assert dataset[0].target.file_name == "b.png"


def test_no_readable_image_at_all_is_an_error(data):
    records = data.records("train")
    for record in records:
        record.path.write_bytes(b"")
    with pytest.raises(ImageError, match="none of the 3 pictures"):
        DetectionDataset(records, data.resize, replace_damaged=True)[0]


def test_a_damaged_evaluation_image_is_an_error(data):
    records = data.records("val")
    records[0].path.write_bytes(b"")
    for loader in (data.val_dataloader, data.test_dataloader, data.predict_dataloader):
        with pytest.raises(ImageError, match=r"d\.png"):
            list(loader())


def test_an_image_of_another_size_is_an_error(data):
    records = data.records("val")
    write_image(records[0].path, size=(30, 30))
    with pytest.raises(DataError, match=r"d\.png.*30x30.*64x48"):
        DetectionDataset(records, data.resize)[0]
