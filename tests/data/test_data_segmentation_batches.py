"""What the loaders hand out: batches, buckets, replacements, caches."""

import logging

import numpy as np
import pytest
import torch
from mask_sets import SIZE, labels, write_folder, write_mask, write_picture
from torch.utils.data.distributed import DistributedSampler

from bnn_tasks.data import DataError, MaskFolderData, ScaleCropFlip
from bnn_tasks.data.buckets import BucketBatchSampler
from bnn_tasks.data.segmentation import masks as masks_module
from bnn_tasks.runtime.images import ImageError, read_image

CLASSES = ["a", "b", "c"]


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path)
    return tmp_path


def make(root, sizes=(SIZE,), **options):
    return MaskFolderData(root, list(sizes), classes=CLASSES, **options)


def names(loader):
    return [target.file_name for batch in loader for target in batch.targets]


def test_images_are_what_the_files_hold(root):
    batch = next(iter(make(root, batch_size=2).val_dataloader()))
    for image, name in zip(batch.images, "fg"):
        expected = read_image(root / "images" / "val" / f"{name}.png").transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-7)
    assert batch.images.is_contiguous()
    assert batch.damaged == []


def test_grey_images_have_one_channel(root):
    assert next(iter(make(root, channels=1).val_dataloader())).images.shape == (2, 1, *SIZE)


def test_the_mask_keeps_the_pictures_own_size(root):
    batch = next(iter(make(root, [(12, 30)]).val_dataloader()))
    assert batch.images.shape[-2:] == batch.masks.shape[-2:] == (12, 30)
    assert batch.targets[0].mask.shape == SIZE
    inside = batch.masks[0, :, 7:23].numpy()  # 8x6 becomes 16x12, centred in 30
    np.testing.assert_array_equal(inside, batch.targets[0].mask.numpy().repeat(2, 0).repeat(2, 1))
    assert (batch.masks[:, :, :7] == 255).all()
    assert (batch.masks[:, :, 23:] == 255).all()
    assert (batch.images[0, :, :, :7] * 255).round().unique().tolist() == [114]


@pytest.mark.parametrize("size", [(7, 9), (5, 31), (64, 64)])  # no multiple of a stride; larger than the picture
def test_any_canvas_size_works(root, size):
    for batch in make(root, [size], train_augment=ScaleCropFlip()).train_dataloader():
        assert batch.images.shape[-2:] == batch.masks.shape[-2:] == size
        assert set(batch.masks.unique().tolist()) <= {0, 1, 2, 255}


def test_a_batch_has_one_size(tmp_path):
    for place, size in enumerate([(6, 8), (8, 6), (6, 8), (8, 6), (6, 8)]):
        write_picture(tmp_path / "images" / "train" / f"{place}.png", place, size)
        write_mask(tmp_path / "masks" / "train" / f"{place}.png", labels(place, 3, size))
    batches = list(make(tmp_path, [(6, 8), (8, 6)], batch_size=2).train_dataloader())
    assert sorted(tuple(batch.masks.shape) for batch in batches) == [(2, 8, 6), (3, 6, 8)]
    for batch in batches:
        for mask, target in zip(batch.masks, batch.targets):
            assert torch.equal(mask, target.mask.long())


def test_training_drops_and_repeats_nothing(root):
    loader = make(root, batch_size=2, train_augment=ScaleCropFlip()).train_dataloader()
    orders = {tuple(names(loader)) for _ in range(6)}
    assert len(orders) > 1
    assert {tuple(sorted(order)) for order in orders} == {("a.png", "b.png", "c.png", "d.png", "e.png")}


@pytest.mark.parametrize("workers", [0, 2])
def test_one_seed_repeats_an_epoch(root, workers):
    epochs = []
    for _ in range(2):
        torch.manual_seed(5)
        loader = make(root, batch_size=2, train_augment=ScaleCropFlip(), num_workers=workers).train_dataloader()
        epochs.append(list(loader))
    for one, two in zip(*epochs, strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.masks, two.masks)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_every_picture_out_once(root, world):
    loader = make(root, batch_size=2).train_dataloader()
    sampler = loader.batch_sampler
    assert isinstance(sampler, BucketBatchSampler)
    shares = []
    for rank in range(world):
        own = DistributedSampler(loader.dataset, world, rank, shuffle=False)
        shares.append(list(BucketBatchSampler(own, 2, False, sampler.buckets)))
    assert len({len(share) for share in shares}) == 1
    assert sorted(index for share in shares for batch in share for index in batch) == list(range(5))


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("cache", [False, True])
def test_a_damaged_pair_is_replaced_and_named_in_training(root, kind, cache, caplog):
    (root / kind / "train" / "b.png").write_bytes(b"no picture")
    data = make(root, batch_size=5, cache=cache)
    with caplog.at_level(logging.WARNING):
        (batch,) = data.train_dataloader()
    assert batch.damaged == ["b.png"]
    assert sorted(target.file_name for target in batch.targets) == ["a.png", "c.png", "c.png", "d.png", "e.png"]
    assert "the next readable picture takes its place" in caplog.text


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_evaluation_replaces_nothing(root, kind):
    (root / kind / "val" / "f.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"f\.png"):
        list(make(root).val_dataloader())


def test_nothing_readable_is_an_error(root):
    for name in "abcde":
        (root / "images" / "train" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="none of the 5 pictures of its split can be read"):
        list(make(root).train_dataloader())


@pytest.mark.parametrize("cache", [False, True])
def test_a_mask_of_another_size_is_an_error_in_training_too(root, cache):
    write_mask(root / "masks" / "train" / "c.png", np.zeros((8, 6)))
    with pytest.raises(DataError, match=r"c\.png: the mask is 6x8 pixels, but c\.png is 8x6"):
        list(make(root, cache=cache).train_dataloader())


@pytest.mark.parametrize("cache", [False, True])
def test_a_value_without_a_meaning_is_an_error_in_training_too(root, cache):
    write_mask(root / "masks" / "train" / "c.png", np.full(SIZE, 3))
    with pytest.raises(DataError, match=r"c\.png: .* 3 \(48 pixels\); there are 0\.\.2, 255"):
        list(make(root, cache=cache).train_dataloader())


def test_a_missing_mask_and_a_missing_picture_are_errors(root):
    (root / "masks" / "train" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: there is no mask a\.\*"):
        make(root).setup("fit")
    (root / "images" / "train" / "a.png").unlink()
    (root / "images" / "train" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: there is no picture b\.\*"):
        make(root).setup("fit")


def test_an_empty_split_and_a_missing_folder_are_errors(root):
    (root / "images" / "none").mkdir()
    (root / "masks" / "none").mkdir()
    with pytest.raises(DataError, match="the val split has no pictures"):
        make(root, splits={"val": "none"}).setup("validate")
    with pytest.raises(DataError, match=r"images/other: no such folder"):
        make(root, splits={"val": "other"}).setup("validate")
    with pytest.raises(DataError, match="no such folder"):
        make(root, splits={"test": "other"}).setup("test")  # named, so not replaced by val
    assert names(make(root, splits={"test": "train"}).test_dataloader())[0] == "a.png"


def test_an_all_void_mask_is_legal(root):
    write_mask(root / "masks" / "val" / "f.png", np.full(SIZE, 255))
    batch = next(iter(make(root).val_dataloader()))
    assert (batch.masks[0] == 255).all()


def test_one_class_is_legal(tmp_path):
    write_folder(tmp_path, top=1)
    data = MaskFolderData(tmp_path, [SIZE], classes=["road"])
    assert {value for batch in data.train_dataloader() for value in batch.masks.unique().tolist()} == {0, 255}


def test_a_cache_reads_each_file_once_and_changes_nothing(root, monkeypatch):
    reads = []
    plain_read = masks_module.read_indices
    monkeypatch.setattr(
        "bnn_tasks.data.segmentation.coding.read_indices", lambda path: reads.append(path.stem) or plain_read(path)
    )
    plain, cached = make(root), make(root, cache=True)
    expected = [list(loader) for loader in (plain.val_dataloader(), plain.test_dataloader())]
    reads.clear()
    found = [list(loader) for loader in (cached.val_dataloader(), cached.test_dataloader(), cached.val_dataloader())]
    assert sorted(reads) == ["f", "g"]
    for one, two in zip(expected, found):
        assert torch.equal(one[0].images, two[0].images)
        assert torch.equal(one[0].masks, two[0].masks)


def test_a_cache_counts_pictures_and_masks(root):
    limit = 5 * SIZE[0] * SIZE[1] * 4 / 2**30
    make(root, cache=True, cache_limit=limit).train_dataloader()
    data = make(root, cache=True, cache_limit=limit * 0.99)
    with pytest.raises(ValueError, match="`cache_limit`"):
        data.train_dataloader()
    assert any("cache_limit" in error for error in data.check().errors)
