"""BiDet's two losses against plain loops, and what they leave alone."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from nets import retinanet
from torch import Tensor

from bnn_tasks.data import SyntheticDetectionData
from bnn_tasks.models import AuxiliaryLoss, Boxes, Detector
from bnn_tasks.models.information_bottleneck import InformationBottleneck
from bnn_tasks.models.sparse_objects import SparseObjects
from bnn_tasks.tasks import DetectionTask

IMAGES = torch.zeros(3, 3, 48, 64)
both = pytest.mark.parametrize("loss", [InformationBottleneck, SparseObjects])


@dataclass
class Target:
    boxes: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor


def target(*labels: int, ignore: tuple[int, ...] = ()) -> Target:
    boxes = torch.tensor([[4.0, 4.0, 20.0 + k, 24.0] for k in range(len(labels))]).reshape(-1, 4)
    flags = torch.tensor([k in ignore for k in range(len(labels))], dtype=torch.bool)
    return Target(boxes, torch.tensor(labels, dtype=torch.int64), flags, torch.zeros_like(flags))


class Given(Detector):
    """Softmax scores with the background last, decoded by a threshold alone: another kind of detector than RetinaNet."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.num_classes = logits.shape[-1] - 1
        self.logits = torch.nn.Parameter(logits)

    def decode(self, outputs: dict[str, list[Tensor]], size: tuple[int, int]) -> list[Boxes]:
        assert size == (48, 64)
        found = []
        for logits in outputs["logits"][0]:
            scores = logits.softmax(-1)[:, :-1].flatten()
            labels = torch.arange(len(scores)) % self.num_classes
            kept = scores > 0.05
            found.append(Boxes(torch.zeros(int(kept.sum()), 4), scores[kept], labels[kept]))
        return found


def naive_sparse(detector: Given, targets: list[Target]) -> float:
    pairs = []
    for logits, truth in zip(detector.logits.detach().double().numpy(), targets):
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for k in range(detector.num_classes):
            objects = [i for i, label in enumerate(truth.labels.tolist()) if label == k]
            scores = [s for s in chances[:, k] if s > 0.05]
            if not objects or len(scores) <= len(objects) or any(truth.ignore[i] for i in objects):
                continue
            pairs.append(sum(-(s / sum(scores)) * math.log(s / sum(scores)) for s in scores) / len(objects))
    return sum(pairs) / len(pairs) if pairs else 0.0


def call(loss: AuxiliaryLoss, detector: Given, targets: list[Target], progress: float = 1.0) -> dict[str, Tensor]:
    return loss(detector, IMAGES, [], {"logits": [detector.logits]}, targets, progress)


def given() -> Given:
    return Given(2 * torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    "targets",
    [
        [target(0, 1, 1), target(2), target(0, 0, 2)],
        [target(), target(1), target()],
        [target(0, 1, ignore=(1,)), target(2, 2, ignore=(0,)), target(0, 1)],
        [target(*[0] * 20), target(), target(1)],  # more objects than detections
    ],
    ids=["objects", "one", "ignored", "crowded"],
)
def test_the_sparse_prior_is_the_papers(targets: list[Target]) -> None:
    detector = given()
    value = call(SparseObjects(weight=0.7), detector, targets)["sparse_objects"]
    wanted = naive_sparse(detector, targets)
    assert wanted > 0
    assert float(value.detach()) == pytest.approx(0.7 * wanted, rel=1e-5)


def test_the_gradient_of_a_score_holds_the_sum_constant() -> None:
    detector = given()
    outputs = {"logits": [detector.logits]}
    found = detector.decode(outputs, (48, 64))
    scores = found[1].scores[found[1].labels == 2].detach()
    value = call(SparseObjects(1.0), detector, [target(), target(2), target()])["sparse_objects"]
    (gradient,) = torch.autograd.grad(value, detector.logits)
    wanted = -((scores / scores.sum()).log() + 1) / scores.sum()
    chances = detector.logits.detach()[1].softmax(-1)
    of_score = dict(zip(torch.nonzero(chances[:, 2] > 0.05).flatten().tolist(), wanted.tolist(), strict=True))
    # Through the softmax: ds_2/dz_j = s_2·(δ_2j - s_j).
    for row, slope in of_score.items():
        jacobian = chances[row, 2] * (torch.eye(4)[2] - chances[row])
        torch.testing.assert_close(gradient[1, row], slope * jacobian)
    assert len(of_score) > 1
    assert float(gradient[[0, 2]].abs().sum()) == 0


@pytest.mark.parametrize("objects", [(), (0,) * 20], ids=["no object", "as many objects as detections"])
def test_the_sparse_prior_is_zero_where_nothing_is_too_much(objects: tuple[int, ...]) -> None:
    value = call(SparseObjects(), given(), [target(*objects)] * 3)["sparse_objects"]
    assert float(value.detach()) == 0


def test_the_information_bottleneck_is_the_mean_of_squares_of_every_map() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 5, size, size, generator=generator).requires_grad_() for size in (8, 4)]
    loss = InformationBottleneck(weight=0.3)
    value = loss(retinanet(2), IMAGES, maps, {}, [], 1.0)["information_bottleneck"]
    squares = [np.square(x.detach().double().numpy()) for x in maps]
    assert float(value.detach()) == pytest.approx(0.3 * (squares[0].mean() + squares[1].mean()) / 2, rel=1e-5)
    value.backward()
    torch.testing.assert_close(maps[1].grad, 0.3 * maps[1].detach() / maps[1].numel())


@both
def test_nothing_before_the_start(loss: type[AuxiliaryLoss]) -> None:
    late = loss(start=0.5)
    targets = [target(0), target(), target(1)]
    features = [torch.ones(1)]
    detector = given()
    for progress, count in ((0.0, 0), (0.49, 0), (0.5, 1), (1.0, 1)):
        assert len(late(detector, IMAGES, features, {"logits": [detector.logits]}, targets, progress)) == count


@pytest.mark.parametrize("targets", [[target(0, 1), target(2)], [target(), target()]], ids=["objects", "no object"])
def test_with_retinanet_every_gradient_is_finite(targets: list[Target]) -> None:
    torch.manual_seed(0)
    net = retinanet(3, score_threshold=0.001).train()
    images = torch.rand(2, 3, 64, 64)
    features = net.features(images)
    outputs = net.raw_outputs(features, (64, 64))
    losses = net.loss(outputs, targets)
    for extra in (InformationBottleneck(), SparseObjects()):
        losses |= extra(net, images, features, outputs, targets, 1.0)
    assert set(losses) == {"cls", "box", "information_bottleneck", "sparse_objects"}
    assert bool(losses["sparse_objects"] > 0) == bool(len(targets[0].labels))
    torch.stack(list(losses.values())).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


def test_detections_in_bfloat16_outputs() -> None:
    torch.manual_seed(0)
    net = retinanet(3, score_threshold=0.001).train()
    images = torch.rand(2, 3, 64, 64)
    targets = [target(0, 1), target(2)]
    with torch.autocast("cpu", torch.bfloat16):
        features = net.features(images)
        outputs = net.raw_outputs(features, (64, 64))
        losses = [
            value
            for extra in (InformationBottleneck(), SparseObjects())
            for value in extra(net, images, features, outputs, targets, 1.0).values()
        ]
    assert {value.dtype for value in losses} == {torch.float32}
    sum(losses).backward()
    assert torch.isfinite(net.head.cls_logits.weight.grad).all()


@both
@pytest.mark.parametrize(
    "arguments", [{"weight": 0.0}, {"weight": math.inf}, {"weight": -1.0}, {"start": 1.0}, {"start": -0.1}], ids=str
)
def test_arguments_out_of_range(loss: type[AuxiliaryLoss], arguments: dict[str, float]) -> None:
    (name,) = arguments
    with pytest.raises(ValueError, match=f"Expected `{name}` .* but got {arguments[name]}"):
        loss(**arguments)


class Logged(L.Callback):
    """The names of what was logged in every step."""

    def __init__(self) -> None:
        self.names: list[set[str]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.names.append(set(trainer.logged_metrics))


def test_a_training_run_adds_them_when_their_time_has_come(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = SyntheticDetectionData(tmp_path / "set", images=10, image_size=(48, 64), sizes=[(64, 64)], batch_size=3)
    auxiliary = [InformationBottleneck(start=0.5), SparseObjects(start=0.5)]
    build, optimizer = partial(retinanet, score_threshold=0.001), partial(torch.optim.AdamW, lr=1e-3)
    task = DetectionTask(build, data.class_names, optimizer, auxiliary=auxiliary)
    log = Logged()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    quiet |= {"enable_checkpointing": False, "log_every_n_steps": 1, "limit_val_batches": 0}
    L.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, callbacks=[log], **quiet).fit(task, data)
    own = {"train/loss", "train/cls", "train/box"}
    assert log.names == [own, own | {"train/information_bottleneck", "train/sparse_objects"}]
