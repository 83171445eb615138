"""What a classifier's evaluation leaves in the folder: predictions, confusion matrix, pictures."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.callbacks import DamagedImages, LastCheckpoint, ResultsWriter, SamplePictures
from bnn_tasks.callbacks.confusion import confusion_matrix, draw_confusion
from bnn_tasks.data import ImageFolderData, SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.runtime.draw import PAGE
from bnn_tasks.tasks import ClassificationTask


def task(classes: list[str]) -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask(
        lambda k: Classifier(k, CifarResNet(8, width=4)), classes, partial(torch.optim.SGD, lr=0.1)
    )


def trainer(folder: Path, *callbacks: Any, **arguments: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(isinstance(c, LastCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticClassificationData:
    return SyntheticClassificationData(tmp_path_factory.mktemp("pictures") / "set", images=30, batch_size=4)


def test_the_matrix_counts_the_predictions(data: SyntheticClassificationData, tmp_path: Path) -> None:
    trainer(tmp_path, ResultsWriter(), SamplePictures(count=3)).test(task(data.class_names), data, verbose=False)
    folder = tmp_path / "test"
    assert sorted(p.name for p in folder.iterdir()) == [
        "confusion_matrix.json",
        "confusion_matrix.png",
        "predictions.json",
    ]
    matrix = json.loads((folder / "confusion_matrix.json").read_text())
    rows = json.loads((folder / "predictions.json").read_text())
    assert matrix["classes"] == data.class_names
    for i, true in enumerate(data.class_names):
        for j, predicted in enumerate(data.class_names):
            found = sum(row["label"] == true and row["predicted"] == predicted for row in rows)
            assert matrix["counts"][i][j] == found
    metrics = json.loads((tmp_path / "results.json").read_text())["test"]["metrics"]
    assert metrics["test/top1"] == pytest.approx(np.trace(matrix["counts"]) / len(rows))


def test_the_sheet_shows_pictures_of_the_whole_split(data: SyntheticClassificationData, tmp_path: Path) -> None:
    trainer(tmp_path, SamplePictures(count=3)).validate(task(data.class_names), data, verbose=False)
    with Image.open(tmp_path / "samples_val.png") as picture:
        sheet = np.asarray(picture.convert("RGB"))
    samples = data.pictures("val")
    for index in (0, round((len(samples) - 1) / 2), len(samples) - 1):
        corner = samples.read(index)[0, 0]
        assert (sheet == corner).all(-1).sum() >= 20, "a pixel of the picture, six times as large"


def test_an_interrupted_sanity_check_writes_nothing(data: SyntheticClassificationData, tmp_path: Path) -> None:
    callbacks = ResultsWriter(), SamplePictures(count=1)
    t = trainer(
        tmp_path, *callbacks, max_epochs=1, num_sanity_val_steps=1, check_val_every_n_epoch=5, limit_train_batches=1
    )
    t.fit(task(data.class_names), data)
    assert list(tmp_path.iterdir()) == []


def test_the_history_is_that_of_one_fit(data: SyntheticClassificationData, tmp_path: Path) -> None:
    def fit(epochs: int, resume: bool) -> list[int]:
        path = tmp_path / "checkpoints" / "last.ckpt" if resume else None
        t = trainer(tmp_path, ResultsWriter(), LastCheckpoint(), max_epochs=epochs, limit_train_batches=3)
        t.fit(task(data.class_names), data, ckpt_path=path)
        return [entry["step"] for entry in json.loads((tmp_path / "history.json").read_text())]

    assert fit(2, resume=False) == [3, 6]
    assert fit(3, resume=True) == [3, 6, 9]
    assert fit(1, resume=False) == [3], "nothing of the other fit"


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    SyntheticClassificationData(tmp_path / "set", images=30).prepare_data()
    victim = sorted((tmp_path / "set" / "train" / "circle").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:60])
    data, damaged = ImageFolderData(tmp_path / "set", (32, 32), batch_size=4), DamagedImages()
    trainer(tmp_path, damaged, max_epochs=1, limit_val_batches=0).fit(task(data.class_names), data)
    assert damaged.names == {f"train/circle/{victim.name}"}


def test_counting() -> None:
    pairs = np.array([[0, 0], [0, 2], [2, 1], [0, 2]])
    assert confusion_matrix(pairs, 3).tolist() == [[1, 0, 2], [0, 0, 0], [0, 1, 0]]
    assert confusion_matrix(np.zeros((0, 2), np.int64), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_a_matrix_of_any_size_is_drawn(count: int, tmp_path: Path) -> None:
    matrix = np.eye(count, dtype=np.int64) * 7
    draw_confusion(matrix, [f"a class of a long name, {k}" for k in range(count)], tmp_path / "matrix.png")
    with Image.open(tmp_path / "matrix.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert max(pixels.shape[:2]) < 2600
    assert tuple(pixels[0, 0]) == PAGE
    dark = (pixels.astype(int).sum(-1) < 250) & (pixels[..., 2] > pixels[..., 0] + 50)
    assert dark.sum() > 1000, "the diagonal"
