"""Folders of pictures without labels: which are read, how they are split, what a damaged one does."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from voc_sets import write_image

from bnn_tasks.data import Augment, DataError
from bnn_tasks.data.unlabelled import UnlabelledImageData
from bnn_tasks.runtime.images import ImageError, read_image


def pictures(root: Path, count: int = 10) -> Path:
    for i in range(count):
        write_image(root / ("a", "b/c")[i % 2] / f"{i:02d}.png", i, (48, 64))
    return root


def data(root: Path, **arguments: object) -> UnlabelledImageData:
    return UnlabelledImageData(root, **{"sizes": [(32, 32)], "batch_size": 4, "val_share": 0.2, **arguments})


def test_every_picture_is_in_one_split_once_and_always_the_same(tmp_path: Path) -> None:
    pictures(tmp_path)
    d = data(tmp_path)
    d.setup("fit")
    train, val = d.paths("train"), d.paths("val")
    assert len(train) == 8
    assert len(val) == 2
    assert sorted(train + val) == sorted(tmp_path.rglob("*.png"))
    assert data(tmp_path).paths("val") == val == d.paths("test")
    shown = [target.file_name for batch in d.train_dataloader() for target in batch.targets]
    assert sorted(shown) == sorted(str(path.relative_to(tmp_path)) for path in train)
    named = [target.file_name for batch in d.val_dataloader() for target in batch.targets]
    assert named == [str(path.relative_to(tmp_path)) for path in val]
    assert d.class_names == ["image"]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.3, 1 / 3, 0.7])
@pytest.mark.parametrize("count", [20, 30])
def test_the_share_of_val(share: float, count: int, tmp_path: Path) -> None:
    pictures(tmp_path, count)
    d = data(tmp_path, val_share=share)
    train = d.paths("train")
    assert len(train) == count - round(share * count)
    if not share:
        d.setup("fit")
        assert d.val_dataloader() == []
        assert d.check().images == {"train": count}
        with pytest.raises(DataError, match=r"none for val with `val_share` 0"):
            d.setup("validate")


def test_a_few_pictures_give_both_splits(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    for share in (0.01, 0.99):
        d = data(tmp_path, val_share=share)
        assert [len(d.paths(split)) for split in ("train", "val")] == [1, 1]
    d.paths("val")[0].unlink()
    with pytest.raises(DataError, match=r"1 pictures .*none for val with `val_share` 0.99"):
        data(tmp_path, val_share=0.99).paths("val")


def test_batches_are_the_pictures(tmp_path: Path) -> None:
    pictures(tmp_path)
    d = data(tmp_path, sizes=[(48, 64)])
    (batch,) = d.val_dataloader()
    expected = np.stack([read_image(path) for path in d.paths("val")]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(batch.images.numpy(), expected, atol=1e-6)
    assert batch.images.dtype == torch.float32
    assert batch.damaged == []
    assert [len(target.boxes) for target in batch.targets] == [0, 0]


def test_augmented_ones_vary_and_a_seed_repeats_them(tmp_path: Path) -> None:
    pictures(tmp_path)
    d = data(tmp_path, train_augment=Augment())

    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(iter(d.train_dataloader())).images

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_decoded_once_and_grey(tmp_path: Path) -> None:
    pictures(tmp_path)
    d = data(tmp_path, cache=True, channels=1)
    (first,) = d.val_dataloader()
    for path in d.paths("val"):
        path.unlink()
    (again,) = d.val_dataloader()
    assert first.images.shape == (2, 1, 32, 32)
    assert torch.equal(again.images, first.images)


def test_a_cache_too_small_is_said_by_the_check(tmp_path: Path) -> None:
    (error,) = data(pictures(tmp_path), cache=True, cache_limit=1e-9).check().errors
    assert f"`cache` needs {10 * 48 * 64 * 3:,} bytes" in error


def test_several_sizes_make_buckets(tmp_path: Path) -> None:
    for i in range(6):
        write_image(tmp_path / f"{i}.png", i, ((32, 64), (64, 32))[i % 2])
    d = data(tmp_path, sizes=[(16, 32), (32, 16)], val_share=0.0)
    shapes = sorted(tuple(batch.images.shape[2:]) for batch in d.train_dataloader())
    assert shapes == [(16, 32), (32, 16)]


def test_only_pictures_of_the_named_folders(tmp_path: Path) -> None:
    pictures(tmp_path, 6)
    write_image(tmp_path / "masks" / "m.png")
    write_image(tmp_path / ".hidden" / "h.png")
    write_image(tmp_path / "a" / ".h.png")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    os.symlink(tmp_path / "masks", tmp_path / "a" / "linked")
    named = [path.name for path in data(tmp_path, folders=["a", "b"], val_share=0.0).paths("train")]
    assert sorted(named) == ["00.png", "01.png", "02.png", "03.png", "04.png", "05.png", "m.png"]
    assert len(data(tmp_path, folders=["b", "b/c"], val_share=0.0).paths("train")) == 3, "each once"


def test_a_damaged_picture_is_replaced_in_train_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path)
    d = data(tmp_path)
    path = d.paths("train")[2]
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        batches = list(d.train_dataloader())
    assert sum(len(batch.images) for batch in batches) == 8
    assert [name for batch in batches for name in batch.damaged] == [str(path.relative_to(tmp_path))]
    assert path.name in caplog.text
    (error,) = d.check().errors
    assert str(path) in error


def test_a_damaged_picture_is_an_error_in_val(tmp_path: Path) -> None:
    pictures(tmp_path)
    d = data(tmp_path)
    d.paths("val")[0].write_bytes(b"")
    with pytest.raises(ImageError, match=d.paths("val")[0].name):
        list(d.val_dataloader())


def test_check_counts(tmp_path: Path) -> None:
    report = data(pictures(tmp_path)).check()
    assert report.images == {"train": 8, "val": 2}
    assert report.image_sizes == {(48, 64): 10}
    assert not report.errors
    assert "images" in str(report)
    (error, again) = data(tmp_path / "nowhere").check().errors
    assert "nowhere: no such folder" in error == again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_share": 1.0}, r"`val_share` to be in \[0, 1\)"),
        ({"val_share": float("nan")}, r"`val_share` to be in \[0, 1\)"),
        ({"folders": []}, r"`folders` to name at least one"),
        ({"batch_size": 0}, r"`batch_size`"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        data(tmp_path, **arguments)


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0 pictures \(.*\.png.*\) below \., so none for train"):
        data(tmp_path).setup("fit")
    with pytest.raises(ValueError, match="Expected `split`"):
        data(tmp_path).paths("valid")
