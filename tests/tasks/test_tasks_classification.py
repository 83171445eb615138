"""A tiny classifier through Lightning's trainer: what is logged, written, saved, and refused."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.callbacks import DamagedImages, LastCheckpoint, ResultsWriter, SamplePictures
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationMetrics, ClassificationTask
from bnn_tasks.tasks import compiled as compiled_module

SHAPES = ["circle", "square", "triangle"]


def tiny(num_classes: int) -> Classifier:
    return Classifier(num_classes, CifarResNet(8, width=4))


def data(root: Path, **arguments: Any) -> SyntheticClassificationData:
    """18 train, 6 val and 6 test pictures."""
    return SyntheticClassificationData(root, **{"images": 30, "batch_size": 4, **arguments})


def task(model: Any = tiny, lr: float = 1e-3, **arguments: Any) -> ClassificationTask:
    torch.manual_seed(0)
    return ClassificationTask(model, SHAPES, partial(torch.optim.AdamW, lr=lr, weight_decay=0.1), **arguments)


def trainer(folder: Path, *callbacks: Any, **arguments: Any) -> L.Trainer:
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "default_root_dir": folder,
            "callbacks": list(callbacks),
            "logger": False,
            "enable_checkpointing": any(isinstance(c, LastCheckpoint) for c in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            **arguments,
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classes") / "set"


@pytest.fixture(scope="module")
def fitted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, L.Trainer, ClassificationTask]:
    folder = tmp_path_factory.mktemp("run")
    t, m = trainer(folder, LastCheckpoint(), ResultsWriter(), SamplePictures(count=4), DamagedImages()), task()
    t.fit(m, data(root))
    return folder, t, m


def test_fit_logs_what_it_promises(fitted: tuple) -> None:
    _, t, _ = fitted
    logged = {name for name in t.callback_metrics if name.startswith("val/")}
    assert logged == {f"val/{name}" for name in ("loss", "top1", *(f"accuracy/{name}" for name in SHAPES))}
    assert math.isfinite(float(t.callback_metrics["train/loss"]))
    assert t.global_step == 10


def test_the_checkpoint_loads_without_running_code(fitted: tuple) -> None:
    folder, t, m = fitted
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == t.global_step
    assert checkpoint["bnn_tasks"] == {"classes": SHAPES, "resize": {"sizes": [[32, 32]], "rule": "letterbox"}}
    assert all(name.startswith("model.") for name in checkpoint["state_dict"])
    m.load_state_dict(checkpoint["state_dict"])


@pytest.mark.parametrize("stage", ["val", "test"])
def test_the_logged_metrics_are_those_of_every_picture(stage: str, root: Path, tmp_path: Path) -> None:
    t, d, m = trainer(tmp_path, ResultsWriter()), data(root), task()
    (logged,) = {"val": t.validate, "test": t.test}[stage](m, d, verbose=False)
    rows = json.loads((tmp_path / stage / "predictions.json").read_text())
    samples = d.samples(stage)
    assert [row["file_name"] for row in rows] == [sample.name for sample in samples]
    assert [row["label"] for row in rows] == [SHAPES[sample.label] for sample in samples]
    right = np.array([row["label"] == row["predicted"] for row in rows])
    assert logged[f"{stage}/top1"] == pytest.approx(right.mean())
    for name in SHAPES:
        own = right[[row["label"] == name for row in rows]]
        assert logged[f"{stage}/accuracy/{name}"] == pytest.approx(own.mean())
    with torch.no_grad():
        m.eval()
        x = torch.stack([torch.from_numpy(d.pictures(stage).read(i)).permute(2, 0, 1) / 255 for i in range(len(rows))])
        expected = torch.softmax(m.model(x), 1).max(1)
        loss = nn.functional.cross_entropy(m.model(x), torch.tensor([sample.label for sample in samples]))
    assert [row["probability"] for row in rows] == pytest.approx(expected.values.tolist(), abs=1e-6)
    assert [SHAPES.index(row["predicted"]) for row in rows] == expected.indices.tolist()
    assert logged[f"{stage}/loss"] == pytest.approx(float(loss), rel=1e-5)


def test_metrics_against_numpy() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 7), np.float32), rng.integers(0, 6, 200)  # nothing of the last class
    probabilities = scores / scores.sum(1, keepdims=True)
    metrics = ClassificationMetrics([f"c{k}" for k in range(7)])
    for part in np.array_split(np.arange(200), 3):
        metrics.update(torch.from_numpy(probabilities[part]), torch.from_numpy(labels[part]))
    values = metrics.compute()
    order = np.argsort(-probabilities, axis=1)
    assert values["top1"] == pytest.approx((order[:, 0] == labels).mean())
    assert values["top5"] == pytest.approx((order[:, :5] == labels[:, None]).any(1).mean())
    for k in range(6):
        assert values[f"accuracy/c{k}"] == pytest.approx((order[labels == k, 0] == k).mean())
    assert math.isnan(values["accuracy/c6"])
    metrics.reset()
    metrics.update(torch.eye(7)[:1], torch.tensor([0]))
    assert metrics.compute()["top1"] == 1


@pytest.mark.parametrize(("count", "has"), [(1, False), (5, False), (6, True)])
def test_top5_only_where_it_says_something(count: int, has: bool) -> None:
    metrics = ClassificationMetrics([f"c{k}" for k in range(count)])
    metrics.update(torch.eye(count)[:1], torch.tensor([0]))
    assert ("top5" in metrics.compute()) == has


def test_bfloat16_trains_and_evaluates_in_float32(root: Path, tmp_path: Path) -> None:
    dtypes: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    m = task()
    m.model.register_forward_hook(lambda module, args, output: dtypes[module.training].add(output.dtype))
    trainer(tmp_path, max_epochs=1, precision="bf16-mixed").fit(m, data(root))
    assert dtypes == {True: {torch.bfloat16}, False: {torch.float32}}
    assert all(p.dtype == torch.float32 and bool(torch.isfinite(p).all()) for p in m.parameters())


def test_a_loss_that_is_no_number_names_the_pictures(root: Path, tmp_path: Path) -> None:
    m = task()
    m.model.register_forward_hook(lambda module, args, output: output * float("nan"))
    with pytest.raises(ValueError, match=r"finite loss.*nan.*train/\w+/0000\d\d\.png.*gradient_clip_val"):
        trainer(tmp_path).fit(m, data(root))


def test_predict_returns_the_test_split(root: Path, tmp_path: Path) -> None:
    t = trainer(tmp_path, ResultsWriter())
    found = [image for batch in t.predict(task(), data(root)) for image in batch["classifications"]]
    assert [image.file_name for image in found] == [sample.name for sample in data(root).samples("test")]
    for image in found:
        assert image.probabilities.dtype == np.float32
        assert image.probabilities.sum() == pytest.approx(1)
        assert image.predicted == image.probabilities.argmax()
    assert len(json.loads((tmp_path / "predict" / "predictions.json").read_text())) == len(found)


def test_a_compiled_fit_runs_one_shape_compiled_and_saves_the_same_keys(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[int] = []

    def compile(function: Any, dynamic: bool) -> Any:
        assert dynamic is False

        def run(x: torch.Tensor) -> Any:
            shapes.append(len(x))
            return function(x)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    m = task(compile=True)
    before = {name: p.clone() for name, p in m.named_parameters()}
    trainer(tmp_path, LastCheckpoint(), max_epochs=1).fit(m, data(root))
    assert shapes == [4, 4, 4, 4], "18 pictures: the last batch has two"
    assert any(not torch.equal(p, before[name]) for name, p in m.named_parameters())
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"].keys() == task().state_dict().keys()
    assert saved["hyper_parameters"]["compile"] is True


def test_compiling_without_a_compiler_says_the_cure(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_module, "_compiler", lambda: "no-such-compiler")
    m = task(compile=True)  # a checkpoint of such a run still loads where there is none
    with pytest.raises(ValueError, match=r"C\+\+ compiler.*no-such-compiler.*compile: false"):
        trainer(tmp_path).fit(m, data(root))


@pytest.mark.parametrize("classes", [[], ["a", "a"]])
def test_bad_class_names(classes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Expected `classes` to be a non-empty list of different names"):
        ClassificationTask(tiny, classes, partial(torch.optim.SGD, lr=0.1))
