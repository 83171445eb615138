"""BatchNorm statistics of the finished net, in the checkpoint it leaves."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging
from torch import Tensor, nn

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.callbacks import LastCheckpoint, ReestimateBatchNorm
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask

NORM = "model.backbone.bn1"


def build(classes: int) -> Classifier:
    return Classifier(classes, CifarResNet(8, width=4))


class WriteBuffers(L.Callback):
    """What every process has at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.save(dict(pl_module.named_buffers()), self.folder / f"{trainer.global_rank}.pt")


class OutOfTime(L.Callback):
    """Stops in the middle of the second epoch, as ``max_time`` does."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 5


def mean_before_first_norm(task: ClassificationTask, state: dict[str, Tensor], folder: Path) -> Tensor:
    """Of all training pictures, by channel, with the weights of `state`."""
    net, found = ClassificationTask(build, task.classes, partial(torch.optim.SGD, lr=0.1)).eval(), []
    net.load_state_dict(state)
    net.get_submodule(NORM).register_forward_pre_hook(lambda part, inputs: found.append(inputs[0]))
    data = SyntheticClassificationData(folder / "set", images=30, batch_size=6)
    data.setup("fit")
    with torch.no_grad():
        for batch in data.train_dataloader():
            net(batch.images)
    return torch.cat(found).mean((0, 2, 3))


def fit(folder: Path, *callbacks: L.Callback, steps: int = -1, devices: int = 1, **options: Any) -> ClassificationTask:
    torch.manual_seed(0)
    data = SyntheticClassificationData(folder / "set", images=30, batch_size=6)
    task = ClassificationTask(build, data.class_names, partial(torch.optim.SGD, lr=0.1))
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    strategy = "ddp_spawn" if devices > 1 else "auto"
    arguments = {
        "accelerator": "cpu",
        "devices": devices,
        "strategy": strategy,
        "max_epochs": 2,
        "max_steps": steps,
        "log_every_n_steps": 1,
        **quiet,
        **options,
    }
    L.Trainer(**{"default_root_dir": folder, "callbacks": [LastCheckpoint(), *callbacks], **arguments}).fit(task, data)
    return task


def test_the_checkpoint_has_statistics_of_the_last_weights(tmp_path: Path) -> None:
    task = fit(tmp_path, ReestimateBatchNorm(2))
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    name = NORM
    assert int(state[f"{name}.num_batches_tracked"]) == 2, "counted anew"
    assert torch.equal(state[f"{name}.running_mean"], task.get_submodule(name).running_mean)
    assert all(part.momentum == 0.1 for part in task.modules() if isinstance(part, nn.BatchNorm2d))


AVERAGES = [
    lambda: EMAWeightAveraging(decay=0.9),
    lambda: EMAWeightAveraging(decay=0.5, update_every_n_steps=0, update_starting_at_epoch=0),  # at the end of epochs
]


STOPS = [lambda: EarlyStopping("val/loss", min_delta=1e9, patience=1), OutOfTime]  # no validation improves by 1e9


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(("stop", "steps"), [(STOPS[0], 6), (STOPS[1], 5)])
def test_a_fit_that_is_stopped_early_has_them_too(stop: Any, steps: int, averaged: bool, tmp_path: Path) -> None:
    average = [EMAWeightAveraging(decay=0.9)] if averaged else []
    task = fit(tmp_path, ReestimateBatchNorm(2), *average, stop(), max_epochs=9)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == steps
    assert int(checkpoint["state_dict"][f"{NORM}.num_batches_tracked"]) == 2, "counted anew"
    for name, tensor in task.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][name]), name
    if averaged:
        trained = checkpoint["current_model_state"]
        assert int(trained[f"{NORM}.num_batches_tracked"]) == steps, "the net from which a resumed fit goes on"


def test_without_a_last_checkpoint_there_is_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected `LastCheckpoint` beside `ReestimateBatchNorm`.* Cure: "):
        fit(tmp_path, callbacks=[ReestimateBatchNorm()])


@pytest.mark.parametrize("average_first", [True, False])
@pytest.mark.parametrize("average", AVERAGES)
def test_beside_averaged_weights_the_statistics_are_theirs(average: Any, average_first: bool, tmp_path: Path) -> None:
    callbacks = [average(), ReestimateBatchNorm()]
    task = fit(tmp_path, *(callbacks if average_first else callbacks[::-1]))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    own, other = (mean_before_first_norm(task, state, tmp_path) for state in (averaged, current))
    assert not torch.allclose(own, other, rtol=1e-3), "the two nets differ"
    torch.testing.assert_close(averaged[f"{NORM}.running_mean"], own)
    assert int(averaged[f"{NORM}.num_batches_tracked"]) == 3, "all of the loader"
    assert int(current[f"{NORM}.num_batches_tracked"]) == 6, "the net that is trained on is left alone"
    for name, tensor in task.state_dict().items():
        assert torch.equal(tensor, averaged[name]), name


def test_several_processes_have_the_statistics_of_the_checkpoint(tmp_path: Path) -> None:
    fit(tmp_path, ReestimateBatchNorm(2), WriteBuffers(tmp_path), devices=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, buffer in one.items():
        assert torch.equal(buffer, two[name]), name
        assert name not in state or torch.equal(buffer, state[name]), name


def test_no_earlier_epoch_is_touched(tmp_path: Path) -> None:
    task = fit(tmp_path)
    batches = int(task.model.backbone.bn1.num_batches_tracked)
    assert batches == 6, "two epochs of three batches: nothing else resets the count"


def test_the_number_of_batches_is_checked() -> None:
    with pytest.raises(ValueError, match="`batches` to be >= 1, but got 0"):
        ReestimateBatchNorm(0)
