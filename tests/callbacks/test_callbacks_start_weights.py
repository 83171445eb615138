"""Runs that start from another run's weights: two stages, a detector on a classifier's backbone, and what is refused."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torchvision
import yaml
from configs_for_tests import tiny_config
from lightning.pytorch.callbacks import EMAWeightAveraging
from nets import retinanet
from torch import Tensor, nn

from bnn_tasks.backbones import BiRealBlock, CifarResNet, ReActBlock, ResNet
from bnn_tasks.binary import BinaryConv2d, Method, with_real_weights
from bnn_tasks.callbacks import FloatBackboneWeights, LastCheckpoint
from bnn_tasks.callbacks.start_weights import BackboneWeights, ModelWeights
from bnn_tasks.data import SyntheticClassificationData, SyntheticDetectionData
from bnn_tasks.export import ExportError, export
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask, DetectionTask, Task
from bnn_tasks.training import TrainingCLI

CLASSES = ["circle", "square", "triangle"]


class Start(L.Callback):
    """The weights before the first step."""

    state: dict[str, Tensor]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 0:
            self.state = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}


def classifier(method: str | Method = "react", width: int = 4, block: type = ReActBlock) -> ClassificationTask:
    build = partial(Classifier, backbone=ResNet(18, partial(block, method=method), width, 3))
    return ClassificationTask(build, CLASSES, partial(torch.optim.AdamW, lr=0.01))


def fit(task: Task, folder: Path, *callbacks: L.Callback, **arguments: Any) -> Path:
    """One epoch of two steps; the checkpoint that it leaves."""
    detection = isinstance(task, DetectionTask)
    data = (
        SyntheticDetectionData(folder / "set", images=10, image_size=(48, 64), sizes=[(64, 64)], batch_size=3)
        if detection
        else SyntheticClassificationData(folder / "set", images=30, batch_size=9, num_workers=0)
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    settings = {"accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 0, **quiet}
    trainer = L.Trainer(default_root_dir=folder, callbacks=[LastCheckpoint(), *callbacks], **settings)
    trainer.fit(task, data, **arguments)
    return folder / "checkpoints" / "last.ckpt"


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier's first stage: binary activations, real weights."""
    torch.manual_seed(0)
    return fit(classifier(with_real_weights("react")), tmp_path_factory.mktemp("first"))


def test_stage_two_begins_with_the_weights_of_stage_one(
    first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    start, task = Start(), classifier("react")
    with caplog.at_level(logging.INFO, "bnn_tasks.callbacks.start_weights"):
        fit(task, tmp_path, EMAWeightAveraging(decay=0.5), ModelWeights(first), start)
    saved = weights(first)
    assert start.state.keys() == saved.keys()
    assert all(torch.equal(start.state[name], tensor) for name, tensor in saved.items())
    layer = next(part for part in task.model.modules() if isinstance(part, BinaryConv2d))
    assert len(layer.terms().terms) == 1, "and it is binary now"
    assert f"{first}: loaded {len(saved)} tensors; left out of the source: nothing" in caplog.text


def test_stage_one_is_not_exported(first: Path, tmp_path: Path) -> None:
    task = classifier(with_real_weights("react"))
    task.load_state_dict(weights(first))
    with pytest.raises(ExportError, match=r"layer 'layer1.*Cure: train a second stage.*ModelWeights"):
        export(task.model.eval().backbone, tmp_path / "net.safetensors", example=torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("block", [ReActBlock, BiRealBlock], ids=["same block", "without RPReLU"])
def test_a_detector_on_a_classifiers_backbone(
    block: type, first: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = Start()
    torch.manual_seed(2)
    task = DetectionTask(partial(retinanet, block=block), CLASSES, partial(torch.optim.AdamW, lr=0.01))
    fresh = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with caplog.at_level(logging.INFO, "bnn_tasks.callbacks.start_weights"):
        fit(task, tmp_path, BackboneWeights(first), start)
    saved = weights(first)
    for name, tensor in start.state.items():
        taken = name.startswith("model.backbone.") and name in saved
        assert torch.equal(tensor, saved[name] if taken else fresh[name]), name
    assert "model.backbone.layer4.1.second.conv.weight" in saved
    left = "layer1.0.first.activation.prelu.weight" in caplog.text
    assert left == (block is BiRealBlock), "what has no place is logged"


def test_stages_behind_the_last_one_are_left_out(first: Path, tmp_path: Path) -> None:
    start = Start()

    def shallow(num_classes: int) -> Classifier:
        return Classifier(num_classes, ResNet(18, ReActBlock, 4, 3, out_indices=(2, 3)))

    fit(
        ClassificationTask(shallow, CLASSES, partial(torch.optim.AdamW, lr=0.01)),
        tmp_path,
        BackboneWeights(first),
        start,
    )
    name = "model.backbone.layer3.0.first.conv.weight"
    assert torch.equal(start.state[name], weights(first)[name])
    assert not any("layer4" in name for name in start.state)


def test_a_resumed_run_keeps_its_own_weights(tmp_path: Path) -> None:
    """The start's file may be gone by then."""
    path = fit(classifier(), tmp_path)
    resumed = classifier()
    fit(resumed, tmp_path, ModelWeights(tmp_path / "gone.ckpt"), ckpt_path=path, weights_only=True)
    assert all(torch.equal(tensor, weights(path)[name]) for name, tensor in resumed.state_dict().items())


def cifar(num_classes: int) -> Classifier:
    return Classifier(num_classes, CifarResNet(8, width=4))


@pytest.mark.parametrize(
    ("build", "callback", "message"),
    [
        (
            partial(classifier, width=8),
            BackboneWeights,
            r"last\.ckpt.*'conv1\.weight' to have shape \(8, 3, 3, 3\).*Cure",
        ),
        (partial(classifier, width=8), ModelWeights, r"last\.ckpt.*'backbone\.conv1\.weight' to have shape.*Cure"),
        (
            lambda: ClassificationTask(cifar, CLASSES, torch.optim.SGD),
            BackboneWeights,
            r"have no place.*'layer1\.1\.first",
        ),
    ],
    ids=["narrower", "narrower model", "deeper"],
)
def test_what_does_not_fit_is_named(build: Any, callback: Any, message: str, first: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        fit(build(), tmp_path, callback(first))


def test_a_float_nets_weights_become_latent_weights(tmp_path: Path) -> None:
    float_net = torchvision.models.resnet18()
    torch.save(float_net.state_dict(), tmp_path / "resnet18.pth")
    start = Start()
    build = partial(Classifier, backbone=ResNet(18, ReActBlock))
    task = ClassificationTask(build, CLASSES, partial(torch.optim.AdamW, lr=0.01))
    path = fit(task, tmp_path, FloatBackboneWeights(tmp_path / "resnet18.pth"), start)
    state = float_net.state_dict()
    for ours, theirs in [
        ("conv1.weight", "conv1.weight"),
        ("layer1.0.first.conv.weight", "layer1.0.conv1.weight"),
        ("layer4.1.second.conv.weight", "layer4.1.conv2.weight"),
    ]:
        assert torch.equal(start.state[f"model.backbone.{ours}"], state[theirs]), ours
    fit(task, tmp_path, FloatBackboneWeights(tmp_path / "gone.pth"), ckpt_path=path, weights_only=True)  # is not read


def test_float_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.pth' to be there.*Cure"):
        fit(classifier(), tmp_path, FloatBackboneWeights(tmp_path / "gone.pth"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"bad\.pth' to hold a state_dict.*Cure"):
        fit(classifier(), tmp_path, FloatBackboneWeights(tmp_path / "bad.pth"))


class Bare(nn.Module):
    """A model without a backbone."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(2, num_classes)


def test_a_model_without_a_backbone(first: Path, tmp_path: Path) -> None:
    task = ClassificationTask(Bare, CLASSES, torch.optim.SGD)
    with pytest.raises(ValueError, match=r"model with a backbone, but Bare has \['body'\]"):
        fit(task, tmp_path, BackboneWeights(first))
    torch.save({}, tmp_path / "float.pth")
    with pytest.raises(ValueError, match=r"model with a backbone, but Bare has \['body'\]"):
        fit(task, tmp_path, FloatBackboneWeights(tmp_path / "float.pth"))


@pytest.mark.parametrize("content", [b"no checkpoint", None], ids=["damaged", "no backbone"])
def test_a_file_of_something_else(content: bytes | None, first: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    if content is None:
        checkpoint = torch.load(first, weights_only=True)
        checkpoint["state_dict"] = {"model.body.weight": torch.zeros(2)}
        torch.save(checkpoint, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.ckpt.*Cure"):
        fit(classifier(), tmp_path, BackboneWeights(path))


def test_both_stages_can_be_said_in_a_config(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, callbacks=({"class_path": "ModelWeights", "init_args": {"path": "first.ckpt"}},))
    method = {"class_path": "bnn_tasks.binary.with_real_weights", "init_args": {"method": "react"}}
    net = config["model"]["init_args"]["model"]["init_args"]
    net["backbone"]["init_args"]["block"]["init_args"] = {"method": method}
    net["neck"]["init_args"]["clip"] = {"class_path": "bnn_tasks.models.percentile_clip.PercentileClip"}
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(config))
    model = TrainingCLI(["--config", str(path)], run=False).model.model
    ready = {name: part.ready for name, part in model.named_modules() if isinstance(part, BinaryConv2d)}
    assert set(ready.values()) == {False, True}
    assert all(flag == (not name.startswith("backbone.")) for name, flag in ready.items())
    assert {type(clip).__name__ for clip in model.neck.clips} == {"PercentileClip"}
