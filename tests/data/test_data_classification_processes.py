"""What training on a classification set must not meet: a batch of one in some process, a validation that changes it."""

from types import SimpleNamespace

import pytest
import torch
from class_sets import write_classes
from lightning.pytorch import seed_everything
from torch.utils.data.distributed import DistributedSampler

from bnn_tasks.data import CropFlip, ImageFolderData

SIZE = (16, 20)


@pytest.fixture
def root(tmp_path):
    return write_classes(tmp_path)


@pytest.mark.parametrize(("processes", "batch_size"), [(1, 19), (2, 3), (2, 9), (3, 2), (3, 6)])
def test_one_training_image_left_over_in_a_process_is_an_error(root, processes, batch_size):
    def fits(**options):
        data = ImageFolderData(root, SIZE, val_fraction=0, batch_size=batch_size, **options)
        data.trainer = SimpleNamespace(world_size=processes)
        data.setup("fit")

    share = list(DistributedSampler(range(20), processes, 0))
    assert len(share) % batch_size == 1
    count = f"{len(share)} train pictures" + (f" of each of {processes} processes" if processes > 1 else "")
    with pytest.raises(ValueError, match=f"{count} in batches of {batch_size} leave one over"):
        fits()
    fits(drop_last_train=True)


def test_a_batch_larger_than_a_processs_share_cannot_be_filled(root):
    data = ImageFolderData(root, SIZE, val_fraction=0, batch_size=11, drop_last_train=True)
    data.setup("fit")
    data.trainer = SimpleNamespace(world_size=2)
    with pytest.raises(
        ValueError, match="Expected `batch_size` to be at most the 10 train pictures of each of 2 processes"
    ):
        data.setup("fit")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_leaves_the_training_after_it_as_it_is(root, workers):
    epochs = []
    for evaluate in (False, True):
        data = ImageFolderData(root, SIZE, num_workers=workers, train_augment=CropFlip(3))
        seed_everything(1, workers=True, verbose=False)
        if evaluate:
            assert len(list(data.val_dataloader())) == len(list(data.test_dataloader())) == 1
        epochs.append([(batch.images, batch.labels.tolist(), batch.names) for batch in data.train_dataloader()])
    (images, *shown), (images_again, *shown_again) = epochs[0][0], epochs[1][0]
    assert shown == shown_again
    assert torch.equal(images, images_again)
