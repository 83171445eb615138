import logging

import numpy as np
import pytest
import torch
from voc_sets import write_image, write_voc

import bnn_tasks.data.cache as cache_module
from bnn_tasks.data import Augment, DataError, VOCDetectionData, check
from bnn_tasks.runtime.images import ImageError, read_image

NAMES = "abcdefghij"
SPLITS = {"train": NAMES[:6], "val": NAMES[6:8], "test": NAMES[8:]}
IMAGE = 48 * 64 * 3


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path, NAMES, splits=SPLITS)


def epochs(data, count=2):
    torch.manual_seed(3)
    loader = data.train_dataloader()
    return [(batch.images, batch.targets) for _ in range(count) for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_epochs_are_those_from_files(root, workers):
    options = {"batch_size": 4, "num_workers": workers, "train_augment": Augment()}
    plain = epochs(VOCDetectionData(root, [(24, 32)], **options))
    cached = epochs(VOCDetectionData(root, [(24, 32)], cache=True, **options))
    assert len(plain) == len(cached) == 4
    for (images, targets), (again, targets_again) in zip(plain, cached):
        assert torch.equal(images, again)
        assert [target.file_name for target in targets] == [target.file_name for target in targets_again]


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_is_decoded_after_the_first_moment(root, workers):
    """The files are gone before the first batch: the pixels can only come from memory, in the workers too."""
    data = VOCDetectionData(root, [(24, 32)], cache=True, num_workers=workers, batch_size=3)
    loaders = [data.train_dataloader(), data.val_dataloader()]
    for name in SPLITS["train"] + SPLITS["val"]:
        (root / "JPEGImages" / f"{name}.png").unlink()
    for _ in range(2):
        assert [len(batch.targets) for batch in loaders[0]] == [3, 3]
        assert [len(batch.targets) for batch in loaders[1]] == [2]
    with pytest.raises(ImageError, match=r"a\.png"):
        data.test_dataloader().dataset.read(root / "JPEGImages" / "a.png")


def test_every_image_is_decoded_once(root, monkeypatch):
    reads = []
    monkeypatch.setattr(cache_module, "read_image", lambda path: reads.append(path.stem) or read_image(path))
    data = VOCDetectionData(root, [(24, 32)], cache=True, splits={"test": "val"})
    for _ in range(2):
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            list(loader)
    assert sorted(reads) == list(NAMES[:8])


def test_cached_images_cannot_be_written_to(root):
    data = VOCDetectionData(root, [(24, 32)], cache=True)
    image = data.train_dataloader().dataset.read(root / "JPEGImages" / "a.png")
    np.testing.assert_array_equal(image, read_image(root / "JPEGImages" / "a.png"))
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0


def test_the_bytes_are_named_and_limited(root, caplog):
    with caplog.at_level(logging.INFO):
        VOCDetectionData(root, [(24, 32)], cache=True).train_dataloader()
    assert f"decoding 6 images into memory ({6 * IMAGE:,} bytes)" in caplog.text
    data = VOCDetectionData(root, [(24, 32)], cache=True, cache_limit=7 * IMAGE / 2**30)
    data.train_dataloader()
    with pytest.raises(ValueError, match=rf"2 decoded images need {2 * IMAGE:,} bytes.*Cure: cache: false"):
        data.val_dataloader()
    errors = check(data).errors
    assert len(errors) == 1
    assert f"`cache` needs {8 * IMAGE:,} bytes" in errors[0]
    with pytest.raises(ValueError, match="Expected `cache_limit`"):
        VOCDetectionData(root, [(24, 32)], cache_limit=0)


def test_damaged_and_wrong_images_are_met_as_without_a_cache(root):
    data = VOCDetectionData(root, [(24, 32)], cache=True, batch_size=6)
    data.setup("fit")
    (root / "JPEGImages" / "b.png").write_bytes(b"")
    (root / "JPEGImages" / "g.png").write_bytes(b"")
    (batch,) = data.train_dataloader()
    assert batch.damaged == ["b.png"]
    with pytest.raises(ImageError, match=r"g\.png"):
        list(data.val_dataloader())
    write_image(root / "JPEGImages" / "g.png", size=(30, 30))
    with pytest.raises(DataError, match=r"g\.png.*30x30"):
        list(data.val_dataloader())
