"""A segmenter through Lightning's trainer and through the command line: what is logged, what it rests on, what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging
from PIL import Image
from segmentation_oracle import (
    CLASSES,
    VOID,
    Oracle,
    mask_data,
    segmentation_config,
    segmentation_task,
    trainer,
    write_set,
)
from torch import Tensor

from bnn_tasks.callbacks import BackboneWeights, LastCheckpoint, ModelWeights
from bnn_tasks.cli import main
from bnn_tasks.data.segmentation import SegmentationTarget
from bnn_tasks.metrics import SegmentationConfusion, boundary_f
from bnn_tasks.models import Segmenter
from bnn_tasks.runtime.images import Resize, read_image
from bnn_tasks.tasks import SegmentationTask
from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.segmentation_metrics import ImageSegmentation, score_picture

BLACK = np.zeros((2, 3, 3), np.uint8)
FIGURES = ["loss", "miou", "pixel_accuracy", "mean_accuracy", "fw_iou", "boundary_f"]
LOGGED = [*FIGURES, *(f"{kind}/{name}" for kind in ("iou", "boundary_f") for name in CLASSES)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def fitted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, L.Trainer, SegmentationTask]:
    folder = tmp_path_factory.mktemp("run")
    t, m = trainer(folder, LastCheckpoint(), enable_checkpointing=True), segmentation_task()
    t.fit(m, mask_data(root))
    return folder, t, m


def test_fit_logs_what_it_promises(fitted: tuple) -> None:
    _, t, m = fitted
    assert {name for name in t.callback_metrics if name.startswith("val/")} == {f"val/{name}" for name in LOGGED}
    assert math.isfinite(float(t.callback_metrics["train/loss"]))
    assert t.global_step == 6
    assert all(math.isfinite(float(t.callback_metrics[f"val/{name}"])) for name in FIGURES)
    assert m.confusion.matrix.sum() > 0


def naive_prediction(net: Segmenter, path: Path) -> np.ndarray:
    """Canvas, logits, bilinear to the canvas, argmax, and for each pixel of the picture the canvas pixel at its centre."""
    image = read_image(path)
    canvas, place = Resize(((32, 48),)).fit(image)
    logits = net(torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255)
    classes = torch.nn.functional.interpolate(logits, (32, 48), mode="bilinear")[0].argmax(0)
    found = np.zeros(image.shape[:2], np.uint8)
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            v, u = (y + 0.5) * place.scale_y + place.offset_y, (x + 0.5) * place.scale_x + place.offset_x
            found[y, x] = classes[min(int(v), 31), min(int(u), 47)]
    return found


def test_figures_are_those_of_the_pictures_own_pixels(root: Path, tmp_path: Path) -> None:
    data = mask_data(root)
    (logged,) = trainer(tmp_path).validate(task := segmentation_task(Oracle), data, verbose=False)
    scores, outlines = SegmentationConfusion(4), []
    for record in data.records("val"):
        truth = np.array(Image.open(record.mask))
        predicted = naive_prediction(task.model, record.path)
        scores.update(predicted, truth)
        outlines.append(boundary_f(predicted, truth, 4))
    assert 0.3 < logged["val/miou"] < 0.95
    assert logged["val/miou"] == pytest.approx(scores.miou, abs=1e-6)
    assert logged["val/pixel_accuracy"] == pytest.approx(scores.pixel_accuracy, abs=1e-6)
    assert logged["val/mean_accuracy"] == pytest.approx(scores.mean_accuracy, abs=1e-6)
    assert logged["val/fw_iou"] == pytest.approx(scores.frequency_weighted_iou, abs=1e-6)
    assert logged["val/iou/road"] == pytest.approx(scores.iou[1], abs=1e-6)
    by_picture = [np.nanmean(row) for row in outlines if not np.isnan(row).all()]
    assert len(by_picture) == 4, "one picture is all void"
    assert logged["val/boundary_f"] == pytest.approx(np.mean(by_picture), abs=1e-6)
    column = np.array(outlines)[:, 2]
    assert logged["val/boundary_f/sign"] == pytest.approx(np.nanmean(column), abs=1e-6)


def test_the_loss_is_the_mean_of_the_pictures_whatever_the_batch(root: Path, tmp_path: Path) -> None:
    task = segmentation_task(Oracle)
    every = [trainer(tmp_path).validate(task, mask_data(root, batch_size=size), verbose=False)[0] for size in (1, 2, 5)]
    for name in FIGURES:
        values = {entry[f"val/{name}"] for entry in every}
        assert max(values) - min(values) < 1e-6, name
    batch = next(iter(mask_data(root, batch_size=5).val_dataloader()))
    losses = []
    for image, mask in zip(batch.images, batch.masks):
        if (mask != VOID).any():
            logits = torch.nn.functional.interpolate(task(image[None]), (32, 48), mode="bilinear")
            losses.append(float(torch.nn.functional.cross_entropy(logits, mask[None], ignore_index=VOID)))
    assert len(losses) == 4
    assert every[0]["val/loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_predict_gives_classes_at_the_pictures_own_size(root: Path, tmp_path: Path) -> None:
    data, task = mask_data(root), segmentation_task(Oracle)
    batches = trainer(tmp_path).predict(task, data)
    found = {image.target.file_name: image.classes for batch in batches for image in batch["segmentations"]}
    assert len(found) == 5
    for record in data.records("test"):
        classes = found[record.path.name]
        assert classes.dtype == np.uint8
        assert classes.shape == (record.height, record.width)
        assert (classes == naive_prediction(task.model, record.path)).all()


def test_backbone_and_decoder_run_once_a_batch(root: Path, tmp_path: Path) -> None:
    calls: list[str] = []
    task = segmentation_task()
    task.model.backbone.register_forward_hook(lambda *_: calls.append("backbone"))
    task.model.decoder.register_forward_hook(lambda *_: calls.append("decoder"))
    trainer(tmp_path, max_epochs=1).fit(task, mask_data(root, batch_size=3))
    assert calls == ["backbone", "decoder"] * 4, "two batches of training, two of validation"


def test_a_checkpoint_says_how_to_export(fitted: tuple) -> None:
    folder, _, _ = fitted
    path = folder / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    assert saved["bnn_tasks"] == {"classes": CLASSES, "resize": {"sizes": [[32, 48]], "rule": "letterbox"}}
    assert {name.split(".")[0] for name in saved["state_dict"]} == {"model"}


def test_weights_of_an_earlier_run_start_another(fitted: tuple, root: Path, tmp_path: Path) -> None:
    folder, _, m = fitted
    path = folder / "checkpoints" / "last.ckpt"
    for callback in (BackboneWeights(path), ModelWeights(path)):
        other = segmentation_task(lr=0.0)
        torch.nn.init.zeros_(next(other.model.backbone.parameters()))
        trainer(tmp_path, callback, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(
            other, mask_data(root)
        )
        assert torch.equal(next(other.model.backbone.parameters()), next(m.model.backbone.parameters()))


def test_averaged_weights_are_what_is_evaluated_and_saved(root: Path, tmp_path: Path) -> None:
    t = trainer(tmp_path, EMAWeightAveraging(decay=0.5), LastCheckpoint(), enable_checkpointing=True)
    t.fit(task := segmentation_task(lr=0.05), mask_data(root))
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    name, weight = next(iter(task.model.named_parameters()))
    assert torch.equal(saved[f"model.{name}"], weight)


class NaN(Oracle):
    def predict(self, features: list[Tensor]) -> Tensor:
        return super().predict(features) * math.nan


def test_outputs_that_are_no_numbers_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"finite outputs.*p0\.png"):
        trainer(tmp_path).validate(segmentation_task(NaN), mask_data(root), verbose=False)


def test_a_mask_with_a_value_beyond_the_classes_is_named() -> None:
    target = SegmentationTarget(torch.full((2, 3), 9, dtype=torch.uint8), "p7.png", Resize(((2, 3),)).fit(BLACK)[1])
    with pytest.raises(ValueError, match=r"p7\.png: .*classes 0 … 3, but got \[9\] in 6 pixel"):
        score_picture(ImageSegmentation(target, np.zeros((2, 3), np.uint8)), 0.0, 4)


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in 1 … 255, but got 256"):
        SegmentationTask(Oracle, [f"c{k}" for k in range(256)], torch.optim.SGD)


def test_the_command_line_trains_tests_and_profiles(root: Path, tmp_path: Path, capsys: Any) -> None:
    config, checkpoint = tmp_path / "config.yaml", str(tmp_path / "checkpoints" / "last.ckpt")
    config.write_text(yaml.safe_dump(segmentation_config(tmp_path, root)))
    main(["fit", "--config", str(config)])
    main(["test", "--config", str(config), "--ckpt_path", "last"])
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["test"]["metrics"].keys() == {f"test/{name}" for name in LOGGED}
    assert results["val"]["metrics"]["val/miou"] == results["test"]["metrics"]["test/miou"], "test is val here"
    assert results["val"]["metrics"]["val/iou/unseen"] in (None, 0)
    task = load_task(checkpoint)
    assert isinstance(task, SegmentationTask)
    assert task.classes == CLASSES
    assert not task.training
    capsys.readouterr()
    main(["profile", str(config)])
    table = capsys.readouterr().out
    assert "backbone.layer1" in table
    assert "decoder" in table
    assert "1-bit" in table
