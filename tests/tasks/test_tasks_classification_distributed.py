"""Two processes evaluate a classifier, and a student of feature maps, as one does: every picture once."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn_tasks.backbones import CifarResNet, ReActBlock, ResNet
from bnn_tasks.callbacks import ResultsWriter, SamplePictures
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask, FeatureDistillationTask
from bnn_tasks.tasks.teachers import FeatureTeacher

IMAGES = 7  # of the val split: uneven
SHAPES = ["circle", "square", "triangle"]


class MeanColours(nn.Module):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(images, 8)]


class Colours(FeatureTeacher):
    def __init__(self) -> None:
        super().__init__((8,), (3,), (0.5,) * 3, (0.5,) * 3)

    def load(self) -> nn.Module:
        return MeanColours()


class WriteLogged(L.Callback):
    """Every process writes what it has logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (self.folder / f"rank{trainer.global_rank}of{trainer.world_size}.json").write_text(json.dumps(values))


def data(root: Path) -> SyntheticClassificationData:
    return SyntheticClassificationData(root, images=40, batch_size=2)


def classifier() -> ClassificationTask:
    torch.manual_seed(0)
    model = partial(Classifier, backbone=CifarResNet(8, width=4))
    return ClassificationTask(model, SHAPES, partial(torch.optim.SGD, lr=0.1))


def student() -> FeatureDistillationTask:
    torch.manual_seed(0)
    backbone = ResNet(18, ReActBlock, 4, 3, (2,))
    return FeatureDistillationTask(backbone, Colours(), SHAPES, partial(torch.optim.SGD, lr=0.1))


def evaluate(task: L.LightningModule, root: Path, folder: Path, devices: int, *callbacks: Any) -> None:
    folder.mkdir()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        default_root_dir=folder,
        logger=False,
        callbacks=[*callbacks, WriteLogged(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(task, data(root), verbose=False)


def logged(folder: Path, world: int) -> dict[str, float]:
    first, *others = (json.loads((folder / f"rank{rank}of{world}.json").read_text()) for rank in range(world))
    assert all(other == first for other in others), "the processes agree"
    return first


@pytest.mark.filterwarnings("ignore:.*use `DistributedSampler`.*", "ignore:.*isinstance.treespec, LeafSpec.*")
def test_two_processes_classify_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for devices in (1, 2):
        evaluate(classifier(), tmp_path / "set", tmp_path / str(devices), devices, ResultsWriter(), SamplePictures(3))
    one, two = (logged(tmp_path / str(devices), devices) for devices in (1, 2))
    assert two == pytest.approx(one, rel=1e-6)

    pictures = data(tmp_path / "set")
    pictures.setup("validate")
    batches, net = list(pictures.val_dataloader()), classifier().eval()
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    with torch.no_grad():
        logits = net(torch.cat([batch.images for batch in batches])).double().numpy()
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(IMAGES), labels]
    assert len(labels) == IMAGES
    assert two["val/loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert two["val/top1"] == pytest.approx((logits.argmax(1) == labels).mean())

    names = [[row["file_name"] for row in rows("val/predictions.json", tmp_path / str(n))] for n in (1, 2)]
    assert names[0] == names[1] == [sample.name for sample in pictures.samples("val")]
    for name in ("val/confusion_matrix.json", "samples_val.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def rows(name: str, folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / name).read_text())
    return found


@pytest.mark.filterwarnings("ignore:.*use `DistributedSampler`.*", "ignore:.*isinstance.treespec, LeafSpec.*")
def test_two_processes_judge_a_student_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for devices in (1, 2):
        evaluate(student(), tmp_path / "set", tmp_path / str(devices), devices)
    one, two = (logged(tmp_path / str(devices), devices) for devices in (1, 2))
    assert set(two) == {"val/loss", "val/r2", "val/r2/stride8"}
    assert two == pytest.approx(one, rel=1e-5)
    assert math.isfinite(two["val/r2"])
