"""The real sets beside the project, where they are."""

from pathlib import Path

import pytest

from bnn_tasks.data import CocoDetectionData, VOCDetectionData, check

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def needs(name):
    return pytest.mark.skipif(not (SHARED / name).is_dir(), reason=f"../shared/data/{name} is not here")


@needs("bccd")
def test_bccd():
    report = check(VOCDetectionData(SHARED / "bccd", [(240, 320)]))
    assert report.errors == []
    assert report.class_names == ["Platelets", "RBC", "WBC"]
    assert [summary.images for summary in report.splits.values()] == [205, 87, 72]
    assert sum(int(summary.objects.sum()) for summary in report.splits.values()) == 4888
    assert report.image_sizes == {(480, 640): 364}


@needs("coco")
def test_coco():
    data = CocoDetectionData(SHARED / "coco", [(240, 320), (320, 240)])
    data.setup("fit")
    assert [len(data.records(split)) for split in ("train", "val", "test")] == [294, 188, 188]
    assert len(data.class_names) == 80
    assert data.category_ids[-1] == 90
    assert sum(int(record.crowd.sum()) for record in data.records("train")) == 25
    batch = next(iter(data.val_dataloader()))
    assert batch.images.shape[2:] in ((240, 320), (320, 240))


@needs("VOCdevkit/VOC2007")
def test_voc2007():
    data = VOCDetectionData(SHARED / "VOCdevkit" / "VOC2007", [(320, 320)])
    assert len(data.class_names) == 20
    assert len(data.records("val")) == 2508
    assert any(record.difficult.any() for record in data.records("val"))
