"""Curves and confusions of a detector: the numbers beside a twin's, the pictures by what is on them."""

import json
from functools import partial
from pathlib import Path

import lightning as L
import naive
import numpy as np
import pytest
import torch
from detection_oracle import CATEGORIES, Oracle, write_coco_set
from PIL import Image

from bnn_tasks.backbones import CifarResNet
from bnn_tasks.callbacks import ResultsWriter
from bnn_tasks.callbacks.curve_picture import draw_precision_recall
from bnn_tasks.callbacks.detection_curves import DetectionCurves
from bnn_tasks.callbacks.matrix_picture import draw_matrix
from bnn_tasks.data import CocoDetectionData, SyntheticClassificationData
from bnn_tasks.metrics import Detected, ImageTruth, VOCEvaluator, VOCResult
from bnn_tasks.models import Classifier
from bnn_tasks.tasks import ClassificationTask, DetectionTask


def trainer(folder: Path, *callbacks: L.Callback) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("curves")
    data = CocoDetectionData(write_coco_set(root / "set", images=12), [(64, 64)], batch_size=5)
    task = DetectionTask(Oracle, data.class_names, partial(torch.optim.SGD, lr=0.1))
    trainer(root, ResultsWriter(), DetectionCurves(score_threshold=0.5)).test(task, data, verbose=False)
    return root


def written(folder: Path) -> tuple[list[str], list[Detected], list[ImageTruth]]:
    """What predictions.json and ground_truth.json say, by image."""
    truth = json.loads((folder / "test" / "ground_truth.json").read_text())
    rows = json.loads((folder / "test" / "predictions.json").read_text())
    label = {category["id"]: k for k, category in enumerate(truth["categories"])}
    detections, truths = [], []
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        mine = [row for row in rows if row["image_id"] == image["id"]]
        true = [entry for entry in truth["annotations"] if entry["image_id"] == image["id"]]
        boxes = [np.array([e["bbox"] for e in part]).reshape(-1, 4) for part in (mine, true)]
        for part in boxes:
            part[:, 2:] += part[:, :2]
        labels = [np.array([label[e["category_id"]] for e in part], int) for part in (mine, true)]
        detections.append(Detected(boxes[0], np.array([row["score"] for row in mine]), labels[0]))
        crowd = np.array([e["iscrowd"] for e in true], bool)
        truths.append(
            ImageTruth(boxes[1], labels[1], crowd, crowd)
        )  # VOC's rule for difficult objects is a crowd's too
    return [category["name"] for category in truth["categories"]], detections, truths


def test_the_curves_are_those_of_the_predictions(folder: Path) -> None:
    curves = json.loads((folder / "test" / "precision_recall.json").read_text())
    names, detections, truths = written(folder)
    assert list(curves["classes"]) == names == list(CATEGORIES.values())
    metrics = json.loads((folder / "results.json").read_text())["test"]["metrics"]
    for label, name in enumerate(names):
        curve = curves["classes"][name]
        area, eleven = naive.voc_ap(detections, truths, label, 0.5)
        if name == "nothing":
            assert curve == {"ap50": None, "objects": 0, "precision": None}
            continue
        assert curve["ap50"] == pytest.approx(area)
        assert curve["ap50"] == pytest.approx(metrics[f"test/voc_ap50/{name}"], abs=1e-6)
        assert sum(curve["precision"][::10]) / 11 == pytest.approx(eleven)
        assert curve["precision"] == sorted(curve["precision"], reverse=True)
        assert curve["objects"] == sum((t.labels[~t.difficult] == label).sum() for t in truths)
    assert curves["recall"] == pytest.approx(np.linspace(0, 1, 101).tolist())


def test_the_confusions_are_those_of_the_predictions(folder: Path) -> None:
    confusion = json.loads((folder / "test" / "detection_confusion.json").read_text())
    names, detections, truths = written(folder)
    assert confusion["classes"] == [*names, "background"]
    counts = np.array(confusion["counts"])
    objects = np.bincount(np.concatenate([t.labels[~t.difficult] for t in truths]), minlength=len(names))
    assert counts[:-1].sum(1).tolist() == objects.tolist()
    assert (confusion["score_threshold"], confusion["iou"]) == (0.5, 0.5)
    confident = sum(int((d.scores >= 0.5).sum()) for d in detections)
    assert 0 < counts[:, :-1].sum() <= confident
    assert 0 < counts.trace() < counts.sum()


@pytest.mark.parametrize("name", ["precision_recall", "detection_confusion"])
def test_the_pictures_show_something(folder: Path, name: str) -> None:
    with Image.open(folder / "test" / f"{name}.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert ((pixels.max(-1) - pixels.min(-1)) > 60).sum() > 500, "colours"
    assert (pixels[0] == 255).all()


def result_of(classes: int) -> VOCResult:
    evaluator = VOCEvaluator(classes)
    rng = np.random.default_rng(0)
    for label in range(classes - 1):  # the last has no object
        boxes = np.array([[0.0, 0, 10, 10]]) + 20 * np.arange(6)[:, None]
        found = boxes + rng.integers(0, 6, (6, 1))
        evaluator.update(found, rng.random(6), np.full(6, label), boxes, np.full(6, label), np.zeros(6, bool))
    return evaluator.compute()


@pytest.mark.parametrize("classes", [1, 3, 10, 11, 80])
def test_any_number_of_classes_is_drawn(classes: int, tmp_path: Path) -> None:
    names = [f"a class of a long name, {k}" for k in range(classes)]
    draw_precision_recall(result_of(classes), names, "title", tmp_path / "curves.png")
    counts = np.diag(np.arange(classes + 1))
    draw_matrix(counts, [*names, "none"], [*names, "none"], "title", ("true", "detected"), tmp_path / "matrix.png")
    for name in ("curves", "matrix"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert 400 < min(picture.size) <= max(picture.size) < 2600


def test_a_threshold_out_of_range_and_a_classifier_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`score_threshold` to be in"):
        DetectionCurves(1.5)
    data = SyntheticClassificationData(tmp_path / "set", images=15, batch_size=4)
    task = ClassificationTask(
        lambda k: Classifier(k, CifarResNet(8, width=4)), data.class_names, partial(torch.optim.SGD, lr=1)
    )
    with pytest.raises(ValueError, match="beside a DetectionTask, but got ClassificationTask"):
        trainer(tmp_path, DetectionCurves()).validate(task, data, verbose=False)
