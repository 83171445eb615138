"""What loaders do where several processes share an epoch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data.distributed import DistributedSampler
from voc_sets import voc_xml, write_image, write_voc, write_xml

from bnn_tasks.data.buckets import BucketBatchSampler


def shares(buckets, batch_size, world, shuffle=False, epoch=0, drop_last=False):
    """The batches of every process."""
    found = []
    for rank in range(world):
        sampler = DistributedSampler(range(len(buckets)), world, rank, shuffle, seed=4)
        sampler.set_epoch(epoch)
        batches = BucketBatchSampler(sampler, batch_size, drop_last, buckets)
        found.append(list(batches))
        assert len(found[-1]) == len(batches)
    return found


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_every_image_is_in_one_batch_of_one_process(seed, shuffle, world):
    rng = np.random.default_rng(seed)
    count, batch_size = int(rng.integers(12, 60)), int(rng.integers(2, 9))
    buckets = rng.integers(0, 3, count).tolist()
    found = shares(buckets, batch_size, world, shuffle)
    assert len({len(batches) for batches in found}) == 1
    assert sorted(index for batches in found for batch in batches for index in batch) == list(range(count))
    for batch in (batch for batches in found for batch in batches):
        assert 1 <= len(batch) <= batch_size + 1
        assert len({buckets[index] for index in batch}) == 1
    alone = list(BucketBatchSampler(range(count), batch_size, False, buckets))
    assert sum(map(len, found)) - len(alone) in range(world)


def test_epochs_are_shuffled_differently_and_repeatably():
    buckets = [0] * 20
    first, second, again = (shares(buckets, 4, 2, True, epoch) for epoch in (0, 1, 0))
    assert first == again != second
    assert shares(buckets, 4, 2, False) == shares(buckets, 4, 2, False, 1)


def test_dropped_ends_leave_whole_batches_in_equal_number():
    assert shares([0] * 11, 2, 2, drop_last=True) == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]


def test_the_largest_batches_are_halved():
    assert shares([0] * 10, 4, 2) == [[[0, 1, 2, 3], [6, 7]], [[4, 5], [8, 9]]]


@pytest.mark.parametrize(("count", "batch_size", "world"), [(1, 4, 2), (5, 1, 2), (3, 2, 4)])
def test_too_few_images_for_the_processes_are_refused(count, batch_size, world):
    with pytest.raises(ValueError, match=rf"{count} images in batches of {batch_size} to give {world} processes"):
        shares([0] * count, batch_size, world)


@pytest.mark.skipif(sys.platform != "linux" or not torch.distributed.is_available(), reason="it forks two processes")
def test_two_processes_of_lightning_share_every_epoch(tmp_path):
    names = "abcdefghijklmnop"
    root = write_voc(tmp_path / "set", names, splits={"train": names[:7], "val": names[7:12], "test": names[12:15]})
    for seed in (0, 3, 8, 13):
        write_image(root / "JPEGImages" / f"{names[seed]}.png", seed, (64, 48))
        write_xml(root, names[seed], voc_xml([("cat", (1, 1, 20, 30))], size=(64, 48)))
    (tmp_path / "out").mkdir()
    script = Path(__file__).with_name("distributed_run.py")
    done = subprocess.run(
        [sys.executable, script, root, tmp_path / "out"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    met = {}
    for stage in ("fit", "test", "predict"):
        for rank in (0, 1):
            found = json.loads((tmp_path / "out" / f"{stage}_{rank}.json").read_text())
            for key, batches in found.items():
                met.setdefault(key, []).append(batches)
    expected = {"train0": names[:7], "train1": names[:7], "test": names[12:15], "predict": names[12:15]}
    expected["val"] = names[7:12] * 2  # one validation an epoch
    assert set(met) == set(expected)
    for key, wanted in expected.items():
        assert sorted(name[0] for rank in met[key] for batch in rank for name in batch) == sorted(wanted), key
        assert len(met[key][0]) == len(met[key][1]), key
    assert met["train0"] != met["train1"]
