"""CIFAR-10 beside the project, where it is."""

from pathlib import Path

import pytest

from bnn_tasks.data import CIFAR10Data, ImageFolderData

ARCHIVE = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10.zip"
needs_cifar10 = pytest.mark.skipif(not ARCHIVE.is_file(), reason="../shared/data/cifar10.zip is not here")


@needs_cifar10
def test_cifar10_from_its_zip_file():
    data = ImageFolderData(ARCHIVE, (32, 32), batch_size=500)
    assert data.class_names == CIFAR10Data(ARCHIVE.parent).class_names  # the names of its folders, sorted
    assert [len(data.samples(split)) for split in ("train", "val", "test")] == [45_000, 5_000, 10_000]
    batch = next(iter(data.test_dataloader()))
    assert batch.images.shape == (500, 3, 32, 32)
    assert 0.3 < batch.images.mean() < 0.7
