import dataclasses
import logging
import time
from collections import Counter

import jsonargparse
import numpy as np
import pytest
import torch
from class_sets import write_classes
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule, Trainer, seed_everything

from bnn_tasks.data import CropFlip, DataError, ImageData, ImageFolderData, RandomResizedCrop
from bnn_tasks.data.classification import dataset
from bnn_tasks.data.classification.pictures import ArraySource, Pictures, Sample, hold_out
from bnn_tasks.runtime.images import ImageError, Resize, read_image

SIZE = (16, 20)


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path)


def epoch(data):
    return [(batch.images, batch.labels.tolist(), batch.names) for batch in data.train_dataloader()]


@pytest.mark.parametrize("rule", ["letterbox", "stretch"])
@pytest.mark.parametrize("cache", [False, True])
def test_a_batch_is_what_the_runtime_sees(root, cache, rule):
    data = ImageFolderData(root, SIZE, rule=rule, cache=cache, batch_size=2)
    batches = list(data.test_dataloader())
    assert [len(batch.names) for batch in batches] == [2, 2]
    assert [name for batch in batches for name in batch.names] == [sample.name for sample in data.samples("test")]
    for batch in batches:
        assert (batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
        assert batch.images.is_contiguous()
        assert batch.damaged == []
        for image, name in zip(batch.images, batch.names):
            canvas, _ = Resize((SIZE,), rule).fit(read_image(root / name))
            np.testing.assert_allclose(image.permute(1, 2, 0), canvas / 255.0, atol=1e-7)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", [False, True])
def test_an_epoch_shows_every_picture_once(root, cache, workers):
    augment = CropFlip(2)
    data = ImageFolderData(
        root, SIZE, cache=cache, num_workers=workers, train_augment=augment, batch_size=4, val_fraction=0.3
    )
    for split, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
        ("test", data.predict_dataloader()),
    ):
        batches = list(loader)
        assert len(batches) == len(loader)
        shown = [(name, label) for batch in batches for name, label in zip(batch.names, batch.labels.tolist())]
        assert Counter(shown) == Counter(data.samples(split))
        if split != "train":
            assert shown == data.samples(split)
        for batch in batches:
            assert batch.images.shape == (len(batch.names), 3, *SIZE)


@pytest.mark.parametrize(("cache", "workers"), [(False, 0), (False, 2), (True, 0), (True, 2)])
@pytest.mark.parametrize("augment", [CropFlip(3), RandomResizedCrop()], ids=lambda a: type(a).__name__)
def test_one_seed_is_one_epoch_of_classification(root, cache, workers, augment):
    cache = cache and isinstance(augment, CropFlip)
    epochs = []
    for seed in (1, 1, 2):
        seed_everything(seed, workers=True, verbose=False)
        epochs.append(epoch(ImageFolderData(root, SIZE, cache=cache, num_workers=workers, train_augment=augment)))
    assert epochs[0][0][1:] == epochs[1][0][1:]
    assert torch.equal(epochs[0][0][0], epochs[1][0][0])
    assert epochs[0][0][2] != epochs[2][0][2]


def test_two_epochs_and_two_workers_draw_different_numbers(tmp_path):
    root = write_classes(tmp_path, {"train/cat": "a", "train/dog": "b"})
    for name in "cdefgh":
        (root / "train" / "cat" / f"{name}.png").write_bytes((root / "train" / "cat" / "a.png").read_bytes())
    data = ImageFolderData(root, SIZE, num_workers=2, train_augment=CropFlip(8, 0), val_fraction=0, batch_size=4)
    loader = data.train_dataloader()
    images = [image for _ in range(2) for batch in loader for image in batch.images[batch.labels == 0]]
    assert len({image.numpy().tobytes() for image in images}) >= 11  # of 14; two of 17² moves may be the same


def test_evaluation_is_never_varied(root):
    data = ImageFolderData(root, SIZE, train_augment=CropFlip(8), val_fraction=0.3)
    plain = ImageFolderData(root, SIZE, val_fraction=0.3)
    for one, other in (
        (data.val_dataloader(), plain.val_dataloader()),
        (data.test_dataloader(), plain.test_dataloader()),
    ):
        assert torch.equal(next(iter(one)).images, next(iter(other)).images)


def test_a_large_set_is_held_out_by_share_and_class():
    labels = [*np.random.default_rng(0).integers(0, 7, 1000).tolist(), 7, 8, 8]
    kept, held = hold_out(labels, 0.1)
    assert sorted(kept + held) == list(range(1003))
    assert (sorted(kept), sorted(held)) == (kept, held)
    counts, held_counts = Counter(labels), Counter(labels[index] for index in held)
    assert held_counts == {**{label: round(0.1 * counts[label]) for label in range(7)}, 8: 1}  # never the last one
    assert hold_out(labels, 0.1)[1] == held
    assert hold_out(labels, 0.1, seed=1)[1] != held
    assert np.diff(held).std() > 3  # spread over the set


def test_the_held_out_share_does_not_follow_the_global_seed(root):
    splits = []
    for seed in (1, 2):
        seed_everything(seed, verbose=False)
        splits.append(ImageFolderData(root, SIZE).samples("val"))
    assert splits[0] == splits[1]


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_training_picture_is_replaced_and_named_once_an_epoch(root, cache, workers, caplog):
    (root / "train" / "cat" / "j.png").write_bytes(b"")  # the last cat: a dog takes its place
    data = ImageFolderData(root, SIZE, cache=cache, num_workers=workers, batch_size=4, val_fraction=0)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            batches = list(data.train_dataloader())
            assert [name for batch in batches for name in batch.damaged] == ["train/cat/j.png"]
            shown = Counter(name for batch in batches for name in batch.names)
            assert shown["train/dog/k.png"] == 2
            assert sum(shown.values()) == 20
            for batch in batches:
                assert [name.split("/")[1] for name in batch.names] == [["cat", "dog"][label] for label in batch.labels]
    if workers == 0:
        assert sum("takes its place" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("cache", [False, True])
def test_a_damaged_evaluation_picture_is_an_error(root, cache):
    (root / "test" / "cat" / "u.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"u\.png: not a readable picture"):
        list(ImageFolderData(root, SIZE, cache=cache).test_dataloader())


@pytest.mark.parametrize("cache", [False, True])
def test_no_readable_picture_at_all_is_an_error(root, cache):
    for path in (root / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ImageError, match="none of the 20 pictures"):
        list(ImageFolderData(root, SIZE, cache=cache, val_fraction=0).train_dataloader())


def test_one_training_image_left_over_is_an_error_before_training(root):
    options = {"val_fraction": 0, "batch_size": 19}
    with pytest.raises(ValueError, match="20 train pictures in batches of 19 leave one over; set `drop_last_train`"):
        ImageFolderData(root, SIZE, **options).setup("fit")
    data = ImageFolderData(root, SIZE, drop_last_train=True, **options)
    data.setup("fit")
    assert [len(batch.names) for batch in data.train_dataloader()] == [19]
    assert [len(batch.names) for batch in data.test_dataloader()] == [4]
    with pytest.raises(ValueError, match="Expected `batch_size` to be at most the 20 train pictures"):
        ImageFolderData(root, SIZE, drop_last_train=True, batch_size=21, val_fraction=0).setup("fit")
    data = ImageFolderData(root, SIZE, batch_size=1)
    data.setup("fit")
    assert len(data.train_dataloader()) == 18


def test_a_cache_too_large_is_refused(root, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_CACHE", 18 * 16 * 20 * 3 - 1)
    with pytest.raises(ValueError, match=r"18 pictures of 16x20 take .*; set `cache` to false"):
        ImageFolderData(root, SIZE, cache=True).setup("fit")


def test_a_cached_picture_is_read_once(root):
    data = ImageFolderData(root, SIZE, cache=True)
    data.setup("fit")
    for path in (root / "train").rglob("*.png"):
        path.unlink()
    first, second = epoch(data), epoch(data)
    assert len(first[0][1]) == len(second[0][1]) == 18


def test_an_epoch_of_50_000_small_pictures_is_quick():
    images = np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), np.uint8)
    samples = [Sample(f"{index}", index % 10) for index in range(len(images))]
    pictures = Pictures(samples, ArraySource(images, [sample.name for sample in samples]))
    cached = dataset.CachedDataset(pictures, Resize(((32, 32),)), CropFlip())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        for batch in torch.split(torch.randperm(len(images)), 128):
            cached.__getitems__(batch.tolist())
        assert time.process_time() - start < 5
    finally:
        torch.set_num_threads(threads)


def test_batches_of_classification_move_to_a_device(root):
    batch = next(iter(ImageFolderData(root, SIZE).test_dataloader()))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert [field.name for field in dataclasses.fields(moved)] == ["images", "labels", "names", "damaged"]
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")
    assert moved.names == batch.names


class Names(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.validated = []

    def training_step(self, batch):
        return (batch.images.mean() + batch.labels.sum()) * self.weight

    def validation_step(self, batch):
        self.validated += batch.names

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def predict_step(self, batch):
        return batch.names


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fraction", [0, 0.3])
def test_lightning_fits_with_and_without_validation(root, fraction):
    data = ImageFolderData(root, SIZE, val_fraction=fraction, cache=True)
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, barebones=True)
    task = Names()
    trainer.fit(task, data)
    assert task.validated == ([sample.name for sample in data.samples("val")] if fraction else [])
    shown = [name for batch in trainer.predict(task, data) for name in batch]
    assert shown == [sample.name for sample in data.samples("test")]


def test_without_a_val_split_validation_says_what_to_do(root):
    with pytest.raises(DataError, match="there is no val split; add one, or set `val_fraction`"):
        ImageFolderData(root, SIZE, val_fraction=0).setup("validate")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # instantiate() is not in jsonargparse 4.47 yet
@pytest.mark.parametrize("augment", ["CropFlip", "RandomResizedCrop"])
def test_the_command_line_builds_a_classification_set(root, augment):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageData, "data")
    parser.add_argument("--classes", type=list[str])
    parser.link_arguments("data.class_names", "classes", apply_on="instantiate")
    arguments = {"root": str(root), "size": [24, 32], "batch_size": 3, "drop_last_train": True, "val_fraction": 0.2}
    arguments |= {"train_augment": {"class_path": f"bnn_tasks.data.{augment}", "init_args": {"flip": 0.1}}}
    config = parser.parse_object({"data": {"class_path": "ImageFolderData", "init_args": arguments}})
    built = parser.instantiate_classes(config)
    assert built.classes == ["cat", "dog"]
    assert built.data.resize.sizes == ((24, 32),)
    assert built.data.train_augment.flip == 0.1
    assert type(built.data.train_augment).__name__ == augment
    assert built.data.drop_last_train


@pytest.mark.parametrize(
    "options",
    [
        {"size": (0, 5)},
        {"rule": "shrink"},
        {"batch_size": 0},
        {"num_workers": -1},
        {"val_fraction": 1.0},
        {"val_fraction": -0.1},
        {"train_augment": RandomResizedCrop(), "cache": True},
    ],
)
def test_bad_classification_settings_are_named(tmp_path, options):
    with pytest.raises(ValueError, match=f"Expected .*`{next(iter(options))}"):
        ImageFolderData(tmp_path, **{"size": SIZE, **options})


def test_an_unknown_split_of_classification_is_named(root):
    with pytest.raises(ValueError, match="'val2'"):
        ImageFolderData(root, SIZE).samples("val2")
