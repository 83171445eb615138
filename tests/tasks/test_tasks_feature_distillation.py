"""Feature distillation: the loss in numpy, R² by hand, what is logged and saved, and a student that does learn."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bnn_tasks.backbones import Backbone, ReActBlock, RealBlock, ResNet
from bnn_tasks.callbacks import DamagedImages, LastCheckpoint, ReestimateBatchNorm, ResultsWriter
from bnn_tasks.cli import main
from bnn_tasks.data import SyntheticClassificationData, SyntheticDetectionData
from bnn_tasks.data.classification.batch import ClassificationBatch
from bnn_tasks.tasks.feature_distillation import FeatureDistillationTask
from bnn_tasks.tasks.feature_matching import ChannelStandardisation, FeatureStudent
from bnn_tasks.tasks.teachers import FeatureTeacher
from bnn_tasks.training import load_task

SHAPES = ["circle", "square", "triangle"]


class Pooled(nn.Module):
    """Means and contrasts of colours over squares: what a student can learn."""

    def __init__(self, strides: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.strides = strides
        self.mixes = nn.ParameterList(torch.randn(c, 3, 1, 1, generator=generator) for c in channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [F.conv2d(F.avg_pool2d(x, s, ceil_mode=True), mix) for s, mix in zip(self.strides, self.mixes)]


class PooledTeacher(FeatureTeacher):
    def __init__(self, strides: tuple[int, ...] = (4, 8, 16), channels: tuple[int, ...] = (4, 5, 7)) -> None:
        super().__init__(strides, channels, (0.5,) * 3, (0.1, 0.2, 0.4))
        self.dtypes: list[torch.dtype] = []

    def load(self) -> nn.Module:
        return Pooled(self.strides, self.channels)

    def __call__(self, images: Tensor) -> list[Tensor]:
        maps = super().__call__(images)
        self.dtypes.append(maps[0].dtype)
        return maps


def student(block: Any = ReActBlock, out_indices: tuple[int, ...] = (2, 3)) -> Backbone:
    torch.manual_seed(0)
    return ResNet(18, block, 4, 3, out_indices)


def task(lr: float = 1e-3, block: Any = ReActBlock, teacher: FeatureTeacher | None = None, **arguments: Any) -> Any:
    optimizer = partial(torch.optim.AdamW, lr=lr)
    return FeatureDistillationTask(student(block), teacher or PooledTeacher(), SHAPES, optimizer, **arguments)


def data(root: Path, **arguments: Any) -> SyntheticDetectionData:
    """12 train, 4 val and 4 test pictures."""
    sizes = {"images": 20, "image_size": (48, 64), "sizes": [(64, 64)], "batch_size": 4}
    return SyntheticDetectionData(root, **(sizes | arguments))


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
            **arguments,
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distillation") / "set"


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_statistics_are_those_of_all_pixels_seen(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5, 4, 6), (1, 5, 2, 2), (2, 5, 8, 3)]
    batches = [torch.randn(shape, generator=generator) * 2 + offset + i for i, shape in enumerate(shapes)]
    layer = ChannelStandardisation(5)
    torch.testing.assert_close(layer.eval()(batches[0]), batches[0], rtol=1e-4, atol=1e-4)  # nothing seen yet
    layer.train()
    for batch in batches:
        layer(batch)
    pixels = np.concatenate([b.movedim(1, -1).reshape(-1, 5).numpy() for b in batches]).astype(np.float64)
    np.testing.assert_allclose(layer.mean.numpy(), pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.variance.numpy(), pixels.var(0), rtol=1e-4)
    layer.eval()
    found = layer(batches[2])
    expected = (batches[2].numpy() - pixels.mean(0).reshape(-1, 1, 1)) / np.sqrt(pixels.var(0) + 1e-5).reshape(-1, 1, 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert float(layer.count) == len(pixels), "evaluation counts nothing"


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_loss_in_numpy(weight: float, root: Path) -> None:
    m = task(cosine_weight=weight).eval()
    for layer in m.model.standardisations:
        layer.mean.normal_(generator=torch.Generator().manual_seed(1))
        layer.variance.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    d = data(root)
    d.prepare_data()
    d.setup("validate")
    batch = next(iter(d.val_dataloader()))
    with torch.no_grad():
        outputs = m(batch.images)
        losses = m.losses(outputs, batch)
    maps = m.teacher(batch.images)
    assert list(losses) == ["stride8", "stride16"]
    for level, (loss, guess, teachers) in enumerate(zip(losses.values(), outputs, maps[1:], strict=True)):
        layer = m.model.standardisations[level]
        mean, std = layer.mean.numpy(), np.sqrt(layer.variance.numpy() + 1e-5)
        a = guess.numpy().transpose(0, 2, 3, 1).astype(np.float64)
        z = (teachers.numpy().transpose(0, 2, 3, 1) - mean) / std
        cosine = (a * z).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(z, axis=-1)
        assert float(loss) == pytest.approx(((a - z) ** 2).mean() + weight * (1 - cosine).mean(), rel=1e-4)


def test_r2_is_that_of_the_whole_set(root: Path, tmp_path: Path) -> None:
    m, d = task(), data(root, batch_size=3)  # batches of 3 and 1
    for layer in m.model.standardisations:
        layer.mean.fill_(0.3)
    (logged,) = trainer(tmp_path).validate(m, d, verbose=False)
    images = torch.cat([batch.images for batch in d.val_dataloader()])
    m.eval()
    scores = []
    with torch.no_grad():
        guesses, targets = m(images), m.model.targets(m.teacher(images))
    for stride, guess, target in zip((8, 16), guesses, targets):
        a, z = (x.movedim(1, -1).flatten(0, 2).double().numpy() for x in (guess, target))
        scores.append(1 - ((a - z) ** 2).sum() / ((z - z.mean(0)) ** 2).sum())
        assert logged[f"val/r2/stride{stride}"] == pytest.approx(scores[-1], rel=1e-4)
    assert logged["val/r2"] == pytest.approx(np.mean(scores), rel=1e-4)
    assert set(logged) == {"val/loss", "val/r2", "val/r2/stride8", "val/r2/stride16"}


def fields(count: int, seed: int) -> DataLoader:
    """Batches of 16 pictures of 4×4 squares of random colours."""
    colours = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    images = F.interpolate(colours, scale_factor=8)
    batches = [ClassificationBatch(part, torch.zeros(16), ["field"] * 16, []) for part in images.split(16)]
    return DataLoader(batches, batch_size=None)


@pytest.mark.parametrize("block", [ReActBlock, RealBlock])
def test_a_student_learns_what_holds_on_other_images(block: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = ResNet(18, block, 8, 3, (2,))
    m = FeatureDistillationTask(backbone, PooledTeacher((8,), (4,)), SHAPES, partial(torch.optim.AdamW, lr=2e-2))
    t = trainer(tmp_path, DamagedImages(), max_epochs=12, check_val_every_n_epoch=12)
    t.fit(m, fields(96, 0), fields(32, 1))
    values = {name: float(value) for name, value in t.callback_metrics.items()}
    assert values.keys() == {"train/loss", "val/loss", "val/r2", "val/r2/stride8"}
    assert values["val/r2"] > 0.6
    assert values["train/loss"] < 0.4, "1 at the start"


def test_the_checkpoint_has_the_student_alone_and_loads_without_running_code(root: Path, tmp_path: Path) -> None:
    m = task()
    trainer(tmp_path, LastCheckpoint(), ReestimateBatchNorm(2), max_epochs=1).fit(m, data(root))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["bnn_tasks"]["resize"]["sizes"] == [[64, 64]]
    parts = {name.split(".")[1] for name in checkpoint["state_dict"]}
    assert parts == {"normalize", "backbone", "adapters", "standardisations"}
    assert all(name.startswith("model.") for name in checkpoint["state_dict"])
    prefix = "model.backbone."
    backbone = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    student().load_state_dict(backbone)  # strict
    assert not any(isinstance(value, FeatureTeacher) for value in checkpoint["hyper_parameters"].values())
    optimised = {id(p) for group in m.optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in m.model.parameters()}


def test_bfloat16_trains_and_evaluates_in_float32(root: Path, tmp_path: Path) -> None:
    m = task()
    dtypes: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    m.model.register_forward_hook(lambda module, args, output: dtypes[module.training].add(output[0].dtype))
    trainer(tmp_path, max_epochs=1, precision="bf16-mixed").fit(m, data(root))
    assert dtypes == {True: {torch.bfloat16}, False: {torch.float32}}
    assert m.teacher.dtypes == [torch.bfloat16] * 3 + [torch.float32]
    assert all(bool(torch.isfinite(p).all()) for p in m.parameters())


def test_other_data_of_the_suite_serve_too(tmp_path: Path) -> None:
    m = task(teacher=PooledTeacher((8,), (3,)))
    d = SyntheticClassificationData(tmp_path / "set", images=30, batch_size=4)
    t = trainer(tmp_path, max_epochs=1)
    t.fit(m, d)
    (logged,) = t.test(m, d, verbose=False)
    assert set(logged) == {"test/loss", "test/r2", "test/r2/stride8"}


def test_a_config_runs_and_its_checkpoint_opens_without_the_teachers_file(root: Path, tmp_path: Path) -> None:
    weights = tmp_path / "teacher.pth"
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), weights)
    package = "bnn_tasks.tasks"
    teacher = {
        "class_path": f"{package}.teachers.TimmTeacher",
        "init_args": {"name": "mobilenetv3_small_050", "checkpoint": str(weights), "out_indices": [2, 3]},
    }
    backbone = {"class_path": "ResNet", "init_args": {"depth": 18, "width": 4, "out_indices": [2, 3]}}
    config = {
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 1,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 1,
            "default_root_dir": str(tmp_path),
            "callbacks": [{"class_path": "LastCheckpoint"}],
        },
        "model": {
            "class_path": f"{package}.feature_distillation.FeatureDistillationTask",
            "init_args": {
                "backbone": backbone,
                "teacher": teacher,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
            },
        },
        "data": {
            "class_path": "SyntheticDetectionData",
            "init_args": {
                "root": str(root),
                "images": 20,
                "image_size": [48, 64],
                "sizes": [[64, 64]],
                "batch_size": 4,
            },
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "config.yaml")])
    weights.unlink()
    opened = load_task(str(tmp_path / "checkpoints" / "last.ckpt"))
    assert isinstance(opened, FeatureDistillationTask)
    assert [g.shape[1] for g in opened(torch.rand(1, 3, 64, 64))] == [16, 24]


def test_levels_are_matched_by_stride(caplog: pytest.LogCaptureFixture) -> None:
    twice = PooledTeacher((4, 8, 8, 32), (2, 3, 6, 5))
    with caplog.at_level(logging.WARNING):
        net = FeatureStudent(student(out_indices=(2, 3, 4)), twice)
    assert net.strides == [8, 32]
    images = torch.rand(2, 3, 64, 64)
    assert [g.shape[1:] for g in net(images)] == [(6, 8, 8), (5, 2, 2)], "of two maps of one stride the deeper one"
    assert [z.shape[1:] for z in net.targets(twice(images))] == [(6, 8, 8), (5, 2, 2)]
    assert "no map of stride [16]" in caplog.text


def test_no_stride_in_common() -> None:
    with pytest.raises(ValueError, match=r"backbone has \[8, 16\] and the teacher \[4, 32\].*Cure"):
        FeatureStudent(student(), PooledTeacher((4, 32), (2, 3)))


def test_maps_of_another_size() -> None:
    m = task()
    m.teacher.load = lambda: Pooled((4, 7, 16), (4, 5, 7))
    batch = type("Batch", (), {"images": torch.rand(2, 3, 64, 64)})()
    with pytest.raises(ValueError, match=r"stride 8 .* one size, but got \(8, 8\) and \(10, 10\).*multiples of 32"):
        m.losses(m(batch.images), batch)


def test_a_callback_that_needs_answers_is_refused(root: Path, tmp_path: Path) -> None:
    told = r"Expected `ResultsWriter` beside a task that answers for each image.*FeatureDistillationTask.*Cure"
    with pytest.raises(ValueError, match=told):
        trainer(tmp_path, ResultsWriter()).fit(task(), data(root))


def test_there_is_nothing_to_predict(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected fit, validate or test, but got predict.*Cure"):
        trainer(tmp_path).predict(task(), data(root))


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_a_weight_out_of_range(weight: float) -> None:
    with pytest.raises(ValueError, match=r"Expected `cosine_weight` to be >= 0"):
        task(cosine_weight=weight)
