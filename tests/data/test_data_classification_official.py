"""CIFAR and MNIST from files in their own formats, written here; nothing is fetched."""

import gzip
import pickle
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from bnn_tasks.data import CIFAR10Data, CIFAR100Data, CropFlip, DataError, MNISTData

NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
RNG = np.random.default_rng(0)


def dump(path, content):
    path.write_bytes(pickle.dumps(content))


@pytest.fixture
def no_checksums(monkeypatch):
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())


def write_cifar10(root):
    """Ten pictures a file; returns the train pictures (60 in the files' order) as (N, 32, 32, 3) and their labels."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pictures, labels = [], []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        planes = RNG.integers(0, 256, (10, 3, 32, 32), np.uint8)
        dump(folder / name, {"data": planes.reshape(10, -1), "labels": list(range(10))})
        pictures.append(np.stack([np.dstack(list(planes[i])) for i in range(10)]))
        labels += range(10)
    dump(folder / "batches.meta", {"label_names": NAMES.split()})
    return np.concatenate(pictures), labels


def shown(loader):
    batches = list(loader)
    images = np.concatenate([np.rint(batch.images.numpy() * 255).astype(np.uint8) for batch in batches])
    return (
        images.transpose(0, 2, 3, 1),
        [n for b in batches for n in b.names],
        [x for b in batches for x in b.labels.tolist()],
    )


def test_cifar10_is_read_as_it_is(tmp_path, no_checksums):
    pictures, labels = write_cifar10(tmp_path)
    data = CIFAR10Data(tmp_path, batch_size=7, val_fraction=0.2, train_augment=CropFlip(0, 0))
    assert data.class_names == NAMES.split()
    data.setup("fit")
    images, names, seen = shown(data.train_dataloader())
    assert len(names) == len(set(names)) == 40
    for image, name, label in zip(images, names, seen):
        np.testing.assert_array_equal(image, pictures[int(name.removeprefix("train/"))])
        assert label == labels[int(name.removeprefix("train/"))]
    data.setup("test")
    images, names, seen = shown(data.test_dataloader())
    np.testing.assert_array_equal(images, pictures[50:])
    assert names == [f"test/{i:05d}" for i in range(10)]
    assert sorted(sample.label for sample in data.samples("val")) == sorted(seen) == list(range(10))
    report = data.check()
    assert report.errors == []
    assert {split: int(counts.sum()) for split, counts in report.splits.items()} == {"train": 40, "val": 10, "test": 10}


def test_cifar100_has_fine_labels_and_sorted_names(tmp_path, no_checksums):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 20), ("test", 10)):
        content = {"data": RNG.integers(0, 256, (count, 3072), np.uint8), "fine_labels": list(range(count))}
        dump(folder / name, {**content, "coarse_labels": [0] * count})
    data = CIFAR100Data(tmp_path, val_fraction=0)
    dump(folder / "meta", {"fine_label_names": data.class_names})
    assert len(data.class_names) == len(set(data.class_names)) == 100
    assert data.class_names == sorted(data.class_names)
    assert [data.class_names[label] for label in (0, 23, 99)] == ["apple", "cloud", "worm"]
    assert [sample.label for sample in data.samples("train")] == list(range(20))


def write_mnist(root):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    pictures = {}
    for name, count in (("train", 30), ("t10k", 20)):
        pictures[name] = RNG.integers(0, 256, (count, 28, 28), np.uint8)
        head = b"".join(int(x).to_bytes(4, "big") for x in (0x803, count, 28, 28))
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + pictures[name].tobytes())
        head = b"".join(int(x).to_bytes(4, "big") for x in (0x801, count))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + bytes(i % 10 for i in range(count)))
    return pictures


def test_mnist_has_three_equal_channels(tmp_path):
    pictures = write_mnist(tmp_path)
    data = MNISTData(tmp_path)
    images, _, labels = shown(data.test_dataloader())
    np.testing.assert_array_equal(images, np.repeat(pictures["t10k"][..., None], 3, 3))
    assert labels == [i % 10 for i in range(20)]
    assert data.class_names == list("0123456789")
    resized, _, _ = shown(MNISTData(tmp_path, (32, 32), cache=False).test_dataloader())
    assert resized.shape == (20, 32, 32, 3)
    assert (resized == resized[..., :1]).all()
    report = data.check()
    assert report.errors == []
    assert report.image_sizes == {(28, 28): 50}


@pytest.mark.parametrize("kind", [CIFAR10Data, CIFAR100Data, MNISTData])
def test_missing_files_say_what_to_do(tmp_path, kind):
    data = kind(tmp_path)
    with pytest.raises(DataError, match=r"missing or damaged; set `download` to true, or put there .*http") as error:
        data.setup("fit")
    assert str(tmp_path / kind.folder) in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert len(data.check().errors) == 2  # train and test


@pytest.mark.parametrize("kind", [CIFAR10Data, CIFAR100Data, MNISTData])
def test_a_failing_download_says_so(tmp_path, kind, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(DataError, match=r"cannot be fetched or read \(.*no route to host.*check the network"):
        kind(tmp_path, download=True).prepare_data()


def test_a_damaged_archive_is_named(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:999])
    with pytest.raises(DataError, match=r"MNIST.raw: files are missing or damaged"):
        MNISTData(tmp_path).setup("fit")
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match=r"MNIST.raw: files are missing or damaged"):
        MNISTData(tmp_path).setup("fit")


def test_cifar_with_a_wrong_checksum_is_refused(tmp_path):
    write_cifar10(tmp_path)
    with pytest.raises(DataError, match="missing or damaged"):
        CIFAR10Data(tmp_path).setup("test")
