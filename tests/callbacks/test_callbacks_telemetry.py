"""The gradient pairs against finite differences, and the file that a fit, a kill and a resume leave."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.binary import BinaryLinear
from bnn_tasks.callbacks import LastCheckpoint, Telemetry
from bnn_tasks.callbacks.smooth_gradient import binary_layers, gradient_pairs, weight_signs
from bnn_tasks.callbacks.telemetry_files import COLUMNS, draw
from bnn_tasks.callbacks.weight_statistics import dead_share, entropy, sign_balance
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.data.classification.batch import ClassificationBatch
from bnn_tasks.models import Classifier, ImageClassifier
from bnn_tasks.tasks import ClassificationTask, Task

SHAPES = ["circle", "square", "triangle"]


class OneLayer(ImageClassifier):
    """A binary linear layer on the pixels of a 3×2×2 image, after a BatchNorm."""

    def __init__(self, num_classes: int, method: str) -> None:
        super().__init__(num_classes)
        self.bn = nn.BatchNorm1d(12)
        self.layer = BinaryLinear(12, num_classes, method=method)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(self.bn(images.flatten(1)))
        return logits


def one_layer(method: str) -> tuple[Task, ClassificationBatch]:
    torch.manual_seed(0)
    task = ClassificationTask(partial(OneLayer, method=method), SHAPES, partial(torch.optim.SGD, lr=0.1))
    labels = torch.arange(6) % 3
    return task.train(), ClassificationBatch(torch.rand(6, 3, 2, 2), labels, [str(k) for k in range(6)], [])


def smooth_loss(task: Any, batch: ClassificationBatch, weight: Tensor, centred: bool, sharpness: float) -> float:
    """The loss with α·tanh(k·u) in float64; k and α as at the net's own weight."""
    layer = task.model.layer
    (basis,) = layer.weight_binarizer.bases(layer.weight.detach())
    alpha = 1.0 if basis.scale is None else basis.scale.double()[:, None]
    own = layer.weight.detach().double()
    k = sharpness / (own - own.mean(1, keepdim=True) if centred else own).abs().mean()
    u = weight - weight.mean(1, keepdim=True) if centred else weight
    x = batch.images.flatten(1)
    normal = (x - x.mean(0)) / (x.var(0, unbiased=False) + task.model.bn.eps).sqrt()
    signs = torch.where(normal >= 0, 1.0, -1.0).double()
    return float(F.cross_entropy(signs @ (alpha * torch.tanh(k * u)).T, batch.labels))


@pytest.mark.parametrize(("method", "centred"), [("bnn", False), ("bireal", False), ("bbg", True)])
def test_the_smooth_gradient_is_the_finite_difference(method: str, centred: bool) -> None:
    task, batch = one_layer(method)
    weight = task.model.layer.weight.detach().double()
    ((_, reference),) = gradient_pairs(task, batch, 2.0).values()
    step, expected = 1e-5, torch.zeros_like(weight)
    for index in range(weight.numel()):
        delta = torch.zeros_like(weight)
        delta.view(-1)[index] = step
        high, low = (smooth_loss(task, batch, weight + sign * delta, centred, 2.0) for sign in (1, -1))
        expected.view(-1)[index] = (high - low) / (2 * step)
    np.testing.assert_allclose(reference.numpy(), expected.numpy(), rtol=2e-3, atol=1e-5)


def test_its_partner_is_the_gradient_that_training_takes() -> None:
    task, batch = one_layer("bireal")
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    random = torch.random.get_rng_state()
    ((own, _),) = gradient_pairs(task, batch, 3.0).values()
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    assert all(p.grad is None for p in task.parameters())
    task.losses(task(batch.images), batch)["cross_entropy"].backward()
    assert torch.equal(own, task.model.layer.weight.grad)


def test_a_method_of_several_bases_is_left_out() -> None:
    task, batch = one_layer("abc_net")
    assert gradient_pairs(task, batch, 3.0) == {}
    (layer,) = binary_layers(task).values()
    assert weight_signs(layer).shape == (3, 12 * len(layer.weight_binarizer.bases(layer.weight.detach())))
    assert set(weight_signs(layer).unique().tolist()) == {-1, 1}


def fit(root: Path, folder: Path, *callbacks: Any, method: str = "react", **arguments: Any) -> ClassificationTask:
    def model(num_classes: int) -> Classifier:
        from bnn_tasks.backbones import ReActBlock

        return Classifier(num_classes, CifarResNet(8, partial(ReActBlock, method=method), width=4))

    torch.manual_seed(0)
    task = ClassificationTask(model, SHAPES, partial(torch.optim.AdamW, lr=1e-2))
    resume = arguments.pop("ckpt_path", None)
    trainer = L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "default_root_dir": folder,
            "callbacks": list(callbacks),
            "logger": False,
            "enable_checkpointing": any(isinstance(c, LastCheckpoint) for c in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "limit_val_batches": 0,
            **arguments,
        }
    )
    trainer.fit(task, SyntheticClassificationData(root, images=30, batch_size=4), ckpt_path=resume, weights_only=True)
    return task


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "telemetry.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("telemetry") / "set"


class Latents(L.Callback):
    """The latent weights before training and after every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, np.ndarray]] = []

    def _look(self, task: Any) -> None:
        self.seen.append({n: layer.weight.detach().numpy().copy() for n, layer in binary_layers(task).items()})

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._look(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._look(pl_module)


def test_the_file_holds_what_the_weights_did(root: Path, tmp_path: Path) -> None:
    latents = Latents()
    task = fit(root, tmp_path, latents, Telemetry(every_n_steps=3))
    rows = table(tmp_path)
    names = list(binary_layers(task))
    assert [(int(row["step"]), row["layer"]) for row in rows] == [(s, name) for s in (3, 6, 9) for name in names]
    for row in rows:
        step, name = int(row["step"]), row["layer"]
        signs = [np.where(seen[name] >= 0, 1, -1).reshape(len(seen[name]), -1) for seen in latents.seen[: step + 1 : 3]]
        assert float(row["flip_ratio"]) == pytest.approx((signs[-1] != signs[-2]).mean())
        assert float(row["kept_share"]) == pytest.approx(np.all([s == signs[0] for s in signs], axis=0).mean())
        assert float(row["sign_balance"]) == pytest.approx(sign_balance(signs[-1]))
        assert float(row["entropy"]) == pytest.approx(entropy(signs[-1].reshape(1, -1))[0])
        assert float(row["filter_entropy"]) == pytest.approx(entropy(signs[-1]).mean())
        assert float(row["dead_share"]) == pytest.approx(dead_share(latents.seen[step][name]))
        assert 0 <= float(row["cosine_deviation"]) <= 2
    assert any(float(row["flip_ratio"]) > 0 for row in rows)
    with Image.open(tmp_path / "telemetry.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


@pytest.mark.parametrize("layers", [1, 9])
def test_nothing_of_the_picture_is_cut_off(layers: int, tmp_path: Path) -> None:
    row = dict.fromkeys(COLUMNS, "0.1") | {"step": "1", "weights": "9"}
    draw([row | {"layer": f"backbone.layer{k}"} for k in range(layers)], tmp_path / "telemetry.png")
    with Image.open(tmp_path / "telemetry.png") as picture:
        assert (np.asarray(picture.convert("L"))[:, [0, -1]] == 255).all()


def test_telemetry_changes_nothing(root: Path, tmp_path: Path) -> None:
    states = [fit(root, tmp_path, *c, max_epochs=1).state_dict() for c in ((), (Telemetry(1),))]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_a_resumed_fit_goes_on_with_the_file(root: Path, tmp_path: Path) -> None:
    fit(root, tmp_path / "whole", Telemetry(2, sharpness=0))
    half = tmp_path / "half"
    fit(root, half, Telemetry(2, sharpness=0), LastCheckpoint(), max_steps=5)
    checkpoint = half / "checkpoints" / "last.ckpt"
    with open(half / "telemetry.csv", "a") as file:  # rows of steps after the last checkpoint, then the kill
        file.write("8,1,lost,1,0,1,0,1,1,0,\n")
    fit(root, half, Telemetry(2, sharpness=0), LastCheckpoint(), ckpt_path=checkpoint)
    rows, whole = table(half), table(tmp_path / "whole")
    assert [(row["step"], row["layer"]) for row in rows] == [(row["step"], row["layer"]) for row in whole]
    assert {row["cosine_deviation"] for row in rows} == {""}
    before = [row for row in whole if int(row["step"]) == 4]
    after = [row for row in rows if int(row["step"]) == 6]
    assert all(float(a["kept_share"]) <= float(b["kept_share"]) for a, b in zip(after, before))


@pytest.mark.parametrize("cut", [1, 12, 40])
def test_a_row_that_a_kill_has_cut_is_dropped(cut: int, root: Path, tmp_path: Path) -> None:
    fit(root, tmp_path, Telemetry(2, sharpness=0), LastCheckpoint(), max_steps=5)
    path, rows = tmp_path / "telemetry.csv", table(tmp_path)
    path.write_bytes(path.read_bytes().rstrip()[:-cut])
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    fit(root, tmp_path, Telemetry(2, sharpness=0), LastCheckpoint(), ckpt_path=checkpoint)
    resumed = table(tmp_path)
    assert resumed[: len(rows) - 1] == rows[:-1]
    assert int(resumed[len(rows) - 1]["step"]) == 6, "the next record"
    assert all(float(row["dead_share"]) >= 0 for row in resumed)


def test_a_file_of_other_columns_is_refused_at_the_start(root: Path, tmp_path: Path) -> None:
    (tmp_path / "telemetry.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"telemetry\.csv' to have the columns step, .* but got \['a', 'b'\]. Cure: move"
    ):
        fit(root, tmp_path, Telemetry(2, sharpness=0), max_epochs=1)
    assert (tmp_path / "telemetry.csv").read_text() == "a,b\n1,2\n"


def test_a_new_fit_starts_the_file_anew(root: Path, tmp_path: Path) -> None:
    for _ in range(2):
        fit(root, tmp_path, Telemetry(5, sharpness=0), max_epochs=1)
    assert {row["step"] for row in table(tmp_path)} == {"5"}


def test_a_real_model_has_nothing_to_tell(root: Path, tmp_path: Path) -> None:
    from bnn_tasks.backbones import RealBlock

    task = ClassificationTask(
        lambda k: Classifier(k, CifarResNet(8, RealBlock, width=4)), SHAPES, partial(torch.optim.SGD, lr=0.1)
    )
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, logger=False, callbacks=[Telemetry()], enable_checkpointing=False,
                        enable_progress_bar=False, default_root_dir=tmp_path)  # fmt: skip
    with pytest.raises(ValueError, match="binary layers, but it has none"):
        trainer.fit(task, SyntheticClassificationData(root, images=30, batch_size=4))


@pytest.mark.parametrize("arguments", [{"every_n_steps": 0}, {"sharpness": -1.0}, {"sharpness": float("inf")}])
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(arguments))}`"):
        Telemetry(**arguments)
