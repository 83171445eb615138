"""Frozen BatchNorms through Lightning's trainer: statistics before and after, validation in between."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.callbacks.frozen_batchnorm import FrozenBatchNorm
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask


class Log(L.Callback):
    """State of the model before every step and at the end, and how the BatchNorms computed."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.training: list[set[bool]] = []

    def _take(self, task: L.LightningModule) -> None:
        self.states.append({name: tensor.clone() for name, tensor in task.model.state_dict().items()})

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._take(pl_module)
        norms = (part for part in pl_module.model.backbone.modules() if isinstance(part, nn.BatchNorm2d))
        self.training.append({norm.training for norm in norms})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._take(pl_module)


def model(num_classes: int) -> Classifier:
    return Classifier(num_classes, CifarResNet(8, width=4))


def fit(folder: Path, *callbacks: L.Callback, build: Any = model, **arguments: Any) -> ClassificationTask:
    """4 steps, two an epoch, with a validation after each epoch."""
    torch.manual_seed(0)
    data = SyntheticClassificationData(folder / "set", images=20, batch_size=6, num_workers=0)
    task = ClassificationTask(build, data.class_names, partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    settings = {"accelerator": "cpu", "max_epochs": 2, "limit_train_batches": 2, "enable_checkpointing": False, **quiet}
    L.Trainer(default_root_dir=folder, callbacks=[*callbacks], **{**settings, **arguments}).fit(task, data)
    return task


def changed(a: dict[str, Tensor], b: dict[str, Tensor], *ends: str) -> bool:
    names = [name for name in a if name.startswith("backbone.") and ".bn" in f".{name}" and name.endswith(ends)]
    assert names
    moved = [not torch.equal(a[name], b[name]) for name in names]
    assert all(moved) or not any(moved), "all alike"
    return moved[0]


@pytest.mark.parametrize("affine", [False, True])
def test_statistics_stand_still_from_the_share_on(affine: bool, tmp_path: Path) -> None:
    log = Log()
    fit(tmp_path, FrozenBatchNorm(after=0.5, affine=affine), log)
    steps = list(zip(log.states, log.states[1:]))
    assert [changed(a, b, "running_mean", "running_var") for a, b in steps] == [True, True, False, False]
    assert [changed(a, b, ".weight", ".bias") for a, b in steps] == [True, True, affine, affine]
    assert log.training == [{True}, {True}, {False}, {False}], "also after a validation"
    conv = "backbone.layer1.0.first.conv.weight"
    assert all(not torch.equal(a[conv], b[conv]) for a, b in steps), "all else goes on learning"


def test_only_the_named_parts(tmp_path: Path) -> None:
    log = Log()
    fit(tmp_path, FrozenBatchNorm(after=0.5, modules=["backbone.layer1"]), log)
    last = log.states[-2:]
    frozen, free = "backbone.layer1.0.first.bn.running_mean", "backbone.layer2.0.first.bn.running_mean"
    assert torch.equal(last[0][frozen], last[1][frozen])
    assert not torch.equal(last[0][free], last[1][free])


def test_statistics_of_an_untrained_net_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'backbone\.bn1' has seen no batch.*BackboneWeights"):
        fit(tmp_path, FrozenBatchNorm())


@pytest.mark.parametrize(
    ("modules", "message"),
    [(["neck"], r"parts of Classifier, but got 'neck'.*'backbone'"), (["head"], "'head' to have BatchNorms.*has none")],
)
def test_parts_that_are_not_there(modules: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, FrozenBatchNorm(after=0.5, modules=modules))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"after": 1.0}, "`after` to be in .0, 1., but got 1.0"),
        ({"after": -0.1}, "`after`"),
        ({"modules": "backbone"}, "`modules` to be a list of names, but got 'backbone'"),
        ({"modules": []}, "`modules`"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenBatchNorm(**arguments)
