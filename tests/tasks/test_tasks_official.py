"""The AP that the task reports is the one pycocotools gives by hand on predictions.json and the *original* annotations."""

import json
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from bnn_tasks.callbacks import ResultsWriter
from bnn_tasks.data import CocoDetectionData, DetectionData, VOCDetectionData
from bnn_tasks.models import Boxes, Detector
from bnn_tasks.tasks import DetectionTask

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs = {
    name: pytest.mark.skipif(not (SHARED / name).is_dir(), reason=f"the real set shared/data/{name} is not here")
    for name in ("coco", "bccd")
}


class Oracle(Detector):
    """Gives back the ground truth, jittered, with some wrong labels and some made-up boxes: an AP between 0 and 1."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.targets: list = []

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        return {"images": [images]}

    def loss(self, outputs: dict, targets: list) -> dict[str, Tensor]:
        self.targets += targets
        return {"none": torch.zeros(())}

    def decode(self, outputs: dict, size: tuple[int, int]) -> list[Boxes]:
        found = []
        targets, self.targets = self.targets, []
        for target in targets:
            count = len(target.boxes)
            boxes = target.boxes + 4 * torch.randn(count, 4)
            labels = torch.where(torch.rand(count) < 0.8, target.labels, torch.randint(self.num_classes, (count,)))
            corner = torch.rand(3, 2) * 100
            boxes = torch.cat([boxes, torch.cat([corner, corner + 60], dim=1)])
            labels = torch.cat([labels, torch.randint(self.num_classes, (3,))])
            boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
            boxes[:, 0::2] = boxes[:, 0::2].clamp(0, size[1])
            boxes[:, 1::2] = boxes[:, 1::2].clamp(0, size[0])
            scores = torch.rand(len(boxes)).sort(descending=True).values
            found.append(Boxes(boxes, scores, labels))
        return found


def reported(data: DetectionData, folder: Path, stage: str) -> tuple[dict[str, float], list[dict]]:
    L.seed_everything(0)
    task = DetectionTask(Oracle, data.class_names, partial(torch.optim.SGD, lr=0.1))
    trainer = L.Trainer(
        accelerator="cpu", logger=False, callbacks=[ResultsWriter(str(folder))], enable_progress_bar=False
    )
    {"val": trainer.validate, "test": trainer.test}[stage](task, data, verbose=False)
    metrics = json.loads((folder / "results.json").read_text())[stage]["metrics"]
    return metrics, json.loads((folder / stage / "predictions.json").read_text())


def by_hand(truth: COCO, predictions: list[dict]) -> list[float]:
    evaluation = COCOeval(truth, truth.loadRes(predictions), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


def check(metrics: dict[str, float], stats: list[float], stage: str) -> None:
    names = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    assert 0.05 < metrics[f"{stage}/ap"] < 0.95
    for name, value in zip(names, stats):
        assert metrics[f"{stage}/{name}"] == pytest.approx(value, abs=1e-6), name
    assert metrics[f"{stage}/ar100"] == pytest.approx(stats[8], abs=1e-6)


@needs["coco"]
def test_coco_with_crowds_and_id_gaps(tmp_path: Path) -> None:
    data = CocoDetectionData(SHARED / "coco", sizes=[(240, 320), (320, 240)], batch_size=16)
    metrics, predictions = reported(data, tmp_path, "val")
    truth = COCO(SHARED / "coco" / "annotations" / "instances_val2017.json")
    check(metrics, by_hand(truth, predictions), "val")


@needs["bccd"]
def test_bccd_from_its_xml_files(tmp_path: Path) -> None:
    data = VOCDetectionData(SHARED / "bccd", sizes=[(240, 320)], batch_size=16)
    metrics, predictions = reported(data, tmp_path, "test")
    categories = {name: index + 1 for index, name in enumerate(sorted({"RBC", "WBC", "Platelets"}))}
    ids = {p["file_name"]: p["image_id"] for p in predictions}
    annotations = []
    for stem in (SHARED / "bccd/ImageSets/Main/test.txt").read_text().split():
        tree = ET.parse(SHARED / "bccd" / "Annotations" / f"{stem}.xml")
        for thing in tree.iter("object"):
            x0, y0, x1, y1 = (float(thing.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
            box = [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": ids[f"{stem}.jpg"],
                    "category_id": categories[thing.findtext("name")],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": i, "file_name": name} for name, i in ids.items()],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for name, i in categories.items()],
    }
    truth.createIndex()
    check(metrics, by_hand(truth, predictions), "test")
