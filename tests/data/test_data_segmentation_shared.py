"""CamVid, VOC 2007 and COCO beside the project, where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnn_tasks.data import CamVidData, CocoInstanceMaskData, VOCSegmentationData

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_camvid = pytest.mark.skipif(not (SHARED / "camvid").is_dir(), reason="../shared/data/camvid is not here")
needs_voc = pytest.mark.skipif(not (SHARED / "VOCdevkit").is_dir(), reason="../shared/data/VOCdevkit is not here")
needs_coco = pytest.mark.skipif(not (SHARED / "coco").is_dir(), reason="../shared/data/coco is not here")


@needs_camvid
def test_camvid():
    data = CamVidData(SHARED / "camvid", [(240, 320)], batch_size=50)
    assert (len(data.records("train")), len(data.records("val"))) == (367, 101)
    batch = next(iter(data.val_dataloader()))
    raw = np.asarray(Image.open(data.records("val")[0].mask))
    np.testing.assert_array_equal(batch.masks[0], np.where(raw == 11, 255, raw))


@needs_voc
def test_voc_2007_masks():
    data = VOCSegmentationData(SHARED / "VOCdevkit" / "VOC2007", [(320, 320)], batch_size=4)
    assert (len(data.records("train")), len(data.records("val"))) == (209, 213)
    batch = next(iter(data.val_dataloader()))
    for target, record in zip(batch.targets, data.records("val")):
        np.testing.assert_array_equal(target.mask, np.asarray(Image.open(record.mask)))
    assert set(batch.masks.unique().tolist()) <= {*range(21), 255}


@needs_coco
def test_coco_instances():
    data = CocoInstanceMaskData(SHARED / "coco", [(160, 160)], batch_size=8)
    assert len(data.class_names) == 81
    batch = next(iter(data.val_dataloader()))
    assert len(batch.masks.unique()) > 3
