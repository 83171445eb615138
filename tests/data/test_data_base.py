import copy
import dataclasses
import json

import jsonargparse
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning_utilities.core.apply_func import apply_to_collection
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.utils.data import SequentialSampler
from voc_sets import voc_xml, write_image, write_voc, write_xml

from bnn_tasks.data import Augment, DetectionData, VOCDetectionData
from bnn_tasks.data.buckets import BucketBatchSampler

NAMES = "abcdefghijk"
SPLITS = {"train": NAMES[:7], "val": NAMES[7:], "test": NAMES[7:]}


@pytest.fixture
def root(tmp_path):
    objects = [("cat", (11, 21, 30, 40)), ("dog", (1, 1, 64, 48), 1)]
    write_voc(tmp_path, NAMES, objects, SPLITS)
    for i, name in enumerate(NAMES):
        if i % 3 == 0:
            write_image(tmp_path / "JPEGImages" / f"{name}.png", i, size=(64, 48))
            write_xml(tmp_path, name, voc_xml(objects, size=(64, 48)))
    return tmp_path


def test_bucket_batches_are_of_one_bucket_and_complete():
    buckets = [0, 1, 0, 0, 1, 0, 2, 0]
    batches = list(BucketBatchSampler(SequentialSampler(buckets), 2, False, buckets))
    assert batches == [[0, 2], [1, 4], [3, 5, 7], [6]]
    sampler = BucketBatchSampler(SequentialSampler(buckets), 2, False, buckets)
    assert len(sampler) == 4
    dropping = BucketBatchSampler(SequentialSampler(buckets), 2, True, buckets)
    assert list(dropping) == [[0, 2], [1, 4], [3, 5]]
    assert len(dropping) == 3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 20])
def test_one_bucket_is_the_plain_batch_sampler(batch_size):
    for drop_last in (False, True):
        plain = torch.utils.data.BatchSampler(range(8), batch_size, drop_last)
        ours = BucketBatchSampler(range(8), batch_size, drop_last, [(1, 1)] * 8)
        assert list(ours) == list(plain)
        assert len(ours) == len(plain)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", range(1, 14))
def test_one_image_left_over_joins_the_batch_before_it(count, batch_size):
    sampler = BucketBatchSampler(range(count), batch_size, False, [0] * count)
    batches = list(sampler)
    assert [index for batch in batches for index in batch] == list(range(count))
    assert len(sampler) == len(batches)
    sizes = [len(batch) for batch in batches]
    assert set(sizes[:-1]) <= {batch_size}
    assert sizes[-1] == batch_size + 1 if count > batch_size > 1 == count % batch_size else sizes[-1] <= batch_size


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_shows_every_image_once_in_batches_of_one_size(root, workers):
    data = VOCDetectionData(root, [(24, 32), (32, 24)], batch_size=2, num_workers=workers, train_augment=Augment())
    for loader, count in ((data.train_dataloader(), 7), (data.val_dataloader(), 4), (data.test_dataloader(), 4)):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sorted(target.image_id for batch in batches for target in batch.targets) == list(range(1, count + 1))
        for batch in batches:
            assert batch.images.shape == (len(batch.targets), 3, *batch.images.shape[2:])
            for target in batch.targets:
                tall = target.placement.height > target.placement.width
                assert batch.images.shape[2:] == ((32, 24) if tall else (24, 32))


def epoch(data):
    return [(batch.images, [target.file_name for target in batch.targets]) for batch in data.train_dataloader()]


@pytest.mark.parametrize("workers", [0, 2])
def test_one_seed_is_one_epoch(root, workers):
    epochs = []
    for seed in (1, 1, 2):
        seed_everything(seed, workers=True, verbose=False)
        data = VOCDetectionData(root, [(24, 32)], batch_size=2, num_workers=workers, train_augment=Augment())
        epochs.append(epoch(data))
    for (images, names), (again, names_again) in zip(*epochs[:2]):
        assert names == names_again
        assert torch.equal(images, again)
    assert [names for _, names in epochs[0]] != [names for _, names in epochs[2]]


def test_damaged_names_reach_the_main_process(root):
    data = VOCDetectionData(root, [(24, 32)], batch_size=3, num_workers=2)
    data.setup("fit")
    (root / "JPEGImages" / "c.png").write_bytes(b"")
    batches = list(data.train_dataloader())
    assert [name for batch in batches for name in batch.damaged] == ["c.png"]
    assert sum(len(batch.targets) for batch in batches) == 7


def test_batches_move_to_a_device(root):
    batch = next(iter(VOCDetectionData(root, [(24, 32)]).val_dataloader()))
    placement = copy.copy(batch.targets[0].placement)
    moved = move_data_to_device(batch, torch.device("meta"))
    assert moved.images.device.type == "meta"
    for field in dataclasses.fields(moved.targets[0]):
        value = getattr(moved.targets[0], field.name)
        assert not isinstance(value, torch.Tensor) or value.device.type == "meta", field.name
    assert moved.targets[0].placement == placement
    assert type(moved.targets[0].placement) is type(placement)
    assert moved.targets[0].file_name == batch.targets[0].file_name
    half = apply_to_collection(batch, torch.Tensor, lambda x: x.half() if x.is_floating_point() else x)
    assert half.targets[0].boxes.dtype == torch.float16


class Names(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch):
        return (batch.images.mean() + sum(target.boxes.sum() for target in batch.targets)) * self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def predict_step(self, batch):
        return [target.file_name for target in batch.targets]


@pytest.mark.filterwarnings("ignore")
def test_lightning_fits_and_predicts(root):
    data = VOCDetectionData(root, [(24, 32), (32, 24)], batch_size=2)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, barebones=True, limit_val_batches=0)
    trainer.fit(Names(), data)
    names = [name for batch in trainer.predict(Names(), data) for name in batch]
    assert sorted(names) == [f"{name}.png" for name in SPLITS["test"]]


def test_ground_truth_is_a_coco_file(root, tmp_path, capsys):
    data = VOCDetectionData(root, [(24, 32)])
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(data.ground_truth("val")))
    coco = COCO(str(path))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == data.class_names == ["cat", "dog"]
    assert coco.getCatIds() == data.category_ids == [1, 2]
    image = coco.loadImgs([2])[0]
    assert (image["file_name"], image["width"], image["height"]) == ("i.png", 64, 48)
    objects = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert [found["bbox"] for found in objects] == [[10, 20, 20, 20], [0, 0, 64, 48]]
    assert [(found["area"], found["iscrowd"], found["difficult"]) for found in objects] == [(400, 0, 0), (3072, 0, 1)]


def test_targets_judged_against_ground_truth_are_perfect(root, capsys):
    data = VOCDetectionData(root, [(24, 32)])
    coco = COCO()
    coco.dataset = data.ground_truth("val")
    coco.createIndex()
    rows = []
    for batch in data.val_dataloader():
        for target in batch.targets:
            boxes = target.placement.to_image(target.boxes.numpy())
            np.testing.assert_allclose(boxes, target.image_boxes, atol=1e-3)
            for box, label in zip(boxes, target.labels.tolist()):
                rows.append([target.image_id, *box[:2], *(box[2:] - box[:2]), 0.9, data.category_ids[label]])
    judge = COCOeval(coco, coco.loadRes(np.array(rows)), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # instantiate() is not in jsonargparse 4.47 yet
def test_the_command_line_builds_it_and_links_the_classes(root):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DetectionData, "data")
    parser.add_argument("--classes", type=list[str])
    parser.link_arguments("data.class_names", "classes", apply_on="instantiate")
    config = parser.parse_object(
        {
            "data": {
                "class_path": "VOCDetectionData",
                "init_args": {
                    "root": str(root),
                    "sizes": [[24, 32]],
                    "batch_size": 3,
                    "train_augment": {"class_path": "bnn_tasks.data.Augment", "init_args": {"scale": [0.5, 2]}},
                },
            }
        }
    )
    built = parser.instantiate_classes(config)
    assert built.classes == ["cat", "dog"]
    assert built.data.batch_size == 3
    assert built.data.resize.sizes == ((24, 32),)
    assert built.data.train_augment.scale == (0.5, 2.0)


@pytest.mark.parametrize(
    "options",
    [{"sizes": [(0, 5)]}, {"sizes": []}, {"rule": "shrink"}, {"batch_size": 0}, {"num_workers": -1}],
)
def test_bad_settings_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=f"Expected .*`{next(iter(options))}`"):
        VOCDetectionData(tmp_path, **{"sizes": [(24, 32)], **options})


def test_an_unknown_split_is_named(root):
    with pytest.raises(ValueError, match="'val2'"):
        VOCDetectionData(root, [(24, 32)]).ground_truth("val2")
