"""COCO's figures are those of pycocotools, by hand, on predictions.json and the original annotation file."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from detection_oracle import CATEGORIES, Oracle, write_coco_set
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bnn_tasks.callbacks import ResultsWriter
from bnn_tasks.data import CocoDetectionData
from bnn_tasks.data.detection.batch import DetectionTarget
from bnn_tasks.runtime.images import Resize
from bnn_tasks.tasks import DetectionMetrics, DetectionTask, ImageDetections
from bnn_tasks.tasks.coco_metrics import STATS
from bnn_tasks.tasks.detection_metrics import coco_results, coco_truth

SHARED = Path(__file__).parents[3] / "shared" / "data" / "coco"


def validate(data: CocoDetectionData, folder: Path, **arguments: Any) -> dict[str, float]:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[ResultsWriter(str(folder))],
        enable_progress_bar=False,
        enable_model_summary=False,
        **arguments,
    )
    task = DetectionTask(partial(Oracle, made_up=5), data.class_names, partial(torch.optim.SGD, lr=0.1))
    (metrics,) = trainer.validate(task, data, verbose=False)
    return metrics


def by_hand(annotations: Path, predictions: Path, images: list[int] | None = None) -> dict[str, float]:
    truth = COCO(str(annotations))
    found = truth.loadRes(str(predictions))
    evaluation = COCOeval(truth, found, "bbox")
    if images is not None:
        evaluation.params.imgIds = images
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    values = dict(zip(STATS, evaluation.stats))
    for category in truth.dataset["categories"][:5]:  # of COCO's eighty, enough
        one = COCOeval(truth, found, "bbox")
        one.params.catIds = [category["id"]]
        one.params.imgIds = evaluation.params.imgIds
        one.evaluate()
        one.accumulate()
        one.summarize()
        for name, value in zip(("ap", "ap50"), one.stats):
            values[f"{name}/{category['name']}"] = value if value > -1 else math.nan
    return values


def agree(metrics: dict[str, float], expected: dict[str, float]) -> None:
    assert 0.02 < expected["ap"] < 0.98
    for name, value in expected.items():
        # Lightning keeps float32.
        assert metrics[f"val/{name}"] == pytest.approx(value, abs=1e-7, nan_ok=True), name


@pytest.mark.parametrize("seed", range(3))
def test_a_set_with_crowds_mask_areas_and_gaps_in_its_ids(seed: int, tmp_path: Path) -> None:
    root = write_coco_set(tmp_path / "set", images=9, seed=seed)
    data = CocoDetectionData(root, [(64, 64), (48, 96)], batch_size=2)
    metrics = validate(data, tmp_path)
    expected = by_hand(root / "annotations" / "instances_val2017.json", tmp_path / "val" / "predictions.json")
    assert sum(value > -1 for name, value in expected.items() if "/" not in name) == 12
    assert math.isnan(expected["ap/nothing"])
    agree(metrics, expected)
    assert math.isnan(metrics["val/voc_ap50/nothing"])


def test_figures_of_some_images_say_so(tmp_path: Path) -> None:
    root = write_coco_set(tmp_path / "set", images=9)
    data = CocoDetectionData(root, [(64, 64)], batch_size=2)
    metrics = validate(data, tmp_path, limit_val_batches=2)
    evaluated = json.loads((tmp_path / "val" / "ground_truth.json").read_text())
    images = [image["id"] for image in evaluated["images"]]
    assert len(images) == 4
    original = root / "annotations" / "instances_val2017.json"
    agree(metrics, by_hand(original, tmp_path / "val" / "predictions.json", images))
    results = json.loads((tmp_path / "results.json").read_text())["val"]
    assert results["images"] == 4
    entries = [a for a in json.loads(original.read_text())["annotations"] if a["image_id"] in images]
    for id_, name in CATEGORIES.items():
        mine = [a["iscrowd"] for a in entries if a["category_id"] == id_]
        assert (results["objects"][name], results["crowds"][name]) == (mine.count(0), mine.count(1))
        assert results["difficult"][name] == 0
    assert results["metrics"]["val/ap/nothing"] is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real set shared/data/coco is not here")
def test_coco(tmp_path: Path) -> None:
    data = CocoDetectionData(SHARED, [(64, 64), (48, 64)], batch_size=32)
    metrics = validate(data, tmp_path)
    agree(metrics, by_hand(SHARED / "annotations" / "instances_val2017.json", tmp_path / "val" / "predictions.json"))


def test_predictions_are_sorted_and_not_rounded(tmp_path: Path) -> None:
    data = CocoDetectionData(write_coco_set(tmp_path / "set"), [(64, 64)], batch_size=3)
    validate(data, tmp_path)
    rows = json.loads((tmp_path / "val" / "predictions.json").read_text())
    order = [(row["image_id"], -row["score"]) for row in rows]
    assert order == sorted(order)
    assert len({row["image_id"] for row in rows}) > 3
    assert all(float(np.float32(row["score"])) == row["score"] for row in rows)
    for row in rows:
        x, y, width, height = row["bbox"]
        for value in (x, y, x + width, y + height):
            assert float(np.float32(value)) == pytest.approx(value, rel=1e-15)


def target(image_id: int, boxes: list[list[float]], labels: list[int], areas: list[float]) -> DetectionTarget:
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    none = torch.zeros(len(labels), dtype=torch.bool)
    _, placement = Resize(((64, 64),)).fit(np.zeros((64, 64, 3), np.uint8))
    return DetectionTarget(
        tensor,
        torch.tensor(labels),
        none,
        none,
        none,
        torch.tensor(areas),
        tensor,
        image_id,
        f"{image_id}.png",
        placement,
    )


def detections(where: DetectionTarget, boxes: Any, scores: Any, labels: Any) -> ImageDetections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return ImageDetections(where, boxes, np.array(scores, np.float32), np.array(labels, np.int64))


BOX, FAR = [10.0, 10.0, 30.0, 30.0], [40.0, 40.0, 60.0, 60.0]


def test_a_hundred_detections_of_a_class_count_in_an_image() -> None:
    """The right one is the 101st: of one class it is cut off, of another class it has its own hundred."""
    image = target(1, [BOX], [0], [400.0])
    for labels, ap in (([0] * 101, 0.0), ([1] * 100 + [0], 1.0)):
        metrics = DetectionMetrics(["a", "b"])
        metrics.update(detections(image, [FAR] * 100 + [BOX], np.linspace(0.9, 0.1, 101), labels))
        values = metrics.compute()
        for name in ("ap", "ar1", "ar10", "ar100"):
            assert values[name] == pytest.approx(ap)


def test_the_order_of_the_images_makes_no_difference() -> None:
    rng = np.random.default_rng(0)
    images = []
    for image_id in range(12):
        boxes = rng.integers(0, 40, (4, 2))
        boxes = np.hstack([boxes, boxes + 15]).astype(float)
        labels = rng.integers(0, 2, 4)
        true = target(image_id, boxes.tolist(), labels.tolist(), [225.0] * 4)
        images.append(detections(true, boxes + rng.integers(-6, 6, (4, 4)), rng.integers(1, 4, 4) / 4, labels))
    first, second = DetectionMetrics(["a", "b"]), DetectionMetrics(["a", "b"])
    for image in images:
        first.update(image)
    for image in reversed(images):
        second.update(image)
    assert first.compute() == second.compute()
    assert 0 < first.compute()["voc_ap50_area"] < 1


def test_nothing_detected_and_nothing_there() -> None:
    metrics = DetectionMetrics(["a", "b"])
    metrics.update(detections(target(1, [BOX], [0], [400.0]), [], [], []))
    values = metrics.compute()
    assert (values["ap"], values["ap/a"], values["voc_ap50/a"], values["ap_large"]) == (0, 0, 0, -1)
    assert math.isnan(values["ap/b"])
    assert math.isnan(values["ap50/b"])
    empty = DetectionMetrics(["a"])
    empty.update(detections(target(1, [], [], []), [FAR], [0.5], [0]))
    assert empty.compute()["ap"] == -1
    assert math.isnan(empty.compute()["voc_ap50_area"])


def test_ground_truth_of_other_images_or_classes_is_refused() -> None:
    image = target(1, [BOX], [0], [400.0])
    metrics = DetectionMetrics(["a", "b"])
    metrics.update(detections(image, [BOX], [0.5], [0]))
    other = target(2, [BOX], [0], [400.0])
    with pytest.raises(ValueError, match=r"image id\(s\) \[1\], which it lacks"):
        metrics.compute(coco_truth([other], ["a", "b"]))
    with pytest.raises(ValueError, match=r"classes \['a', 'b'\], but got \['b', 'a'\]"):
        metrics.compute(coco_truth([image], ["b", "a"]))
    more = metrics.compute(coco_truth([image, other], ["a", "b"]))
    assert more == pytest.approx(metrics.compute(), nan_ok=True), "an image that was not evaluated"


def test_rows_have_the_sets_own_ids() -> None:
    rows = coco_results([detections(target(7, [], [], []), [BOX, FAR], [0.25, 0.5], [1, 0])], [3, 10_000], ["a", "b"])
    assert [(row["image_id"], row["category_id"], row["category"], row["bbox"], row["score"]) for row in rows] == [
        (7, 3, "a", [40, 40, 20, 20], 0.5),
        (7, 10_000, "b", [10, 10, 20, 20], 0.25),
    ]
