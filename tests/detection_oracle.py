"""A detector that knows the truth, and a COCO set to use it on; what it says of an image depends on that image alone."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnn_tasks.models import Boxes, Detector

CATEGORIES = {1: "cat", 17: "dog", 90: "bird", 9_999: "nothing", 10_000: "fish"}  # "nothing" has no object


class Oracle(Detector):
    """Jittered objects, some of a wrong class, duplicates and made-up boxes, few different scores; the loss is the image id."""

    def __init__(self, num_classes: int, made_up: int = 3) -> None:
        super().__init__()
        self.num_classes, self.made_up = num_classes, made_up
        self.targets: list = []

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        return {"images": [images]}

    def loss(self, outputs: dict, targets: list) -> dict[str, Tensor]:
        self.targets += targets
        return {"id": torch.tensor([float(target.image_id) for target in targets]).mean()}

    def decode(self, outputs: dict, size: tuple[int, int]) -> list[Boxes]:
        targets, self.targets = self.targets, []
        return [self._boxes(target, size) for target in targets]

    def _boxes(self, target, size: tuple[int, int]) -> Boxes:
        generator = torch.Generator().manual_seed(target.image_id)
        count = len(target.boxes)
        again = torch.arange(count).repeat(2)[: count + count // 2]
        boxes = target.boxes[again] + 1.5 * torch.randn(len(again), 4, generator=generator)
        other = torch.randint(self.num_classes, (len(again),), generator=generator)
        labels = torch.where(torch.rand(len(again), generator=generator) < 0.8, target.labels[again], other)
        corner = torch.rand(self.made_up, 2, generator=generator) * 40
        boxes = torch.cat([boxes, torch.cat([corner, corner + 20], 1)])
        labels = torch.cat([labels, torch.randint(self.num_classes, (self.made_up,), generator=generator)])
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, size[1])
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, size[0])
        scores = torch.randint(1, 20, (len(boxes),), generator=generator) / 20  # ties
        order = torch.randperm(len(boxes), generator=generator)
        return Boxes(boxes[order], scores[order], labels[order])


def write_coco_set(root: Path, images: int = 7, seed: int = 0) -> Path:
    """Images of two shapes and three area ranges, one without objects, crowds, areas of masks, ids with gaps and no order."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.arange(3, 3 + 5 * images, 5)).tolist()
    known = [id_ for id_ in CATEGORIES if CATEGORIES[id_] != "nothing"]
    content: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": id_, "name": name} for id_, name in reversed(CATEGORIES.items())]
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True, exist_ok=True)
    for number, image_id in enumerate(ids):
        height, width = (200, 200) if number % 3 else (150, 300)
        name = f"{image_id:06}.png"
        for split in ("train2017", "val2017"):
            Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(root / split / name)
        content["images"].append({"id": image_id, "file_name": name, "height": height, "width": width})
        for _ in range(0 if number == 1 else rng.integers(3, 9)):
            sides = rng.choice([12.0, 40.25, 110.7], 2) + rng.integers(0, 20, 2) / 10
            corner = np.round(rng.random(2) * np.maximum([width, height] - sides, 0), 2)
            content["annotations"].append(
                {
                    "id": int(1000 + 7 * len(content["annotations"])),
                    "image_id": image_id,
                    "category_id": int(rng.choice(known)),
                    "bbox": [*corner.tolist(), *np.round(sides, 2).tolist()],
                    "area": float(sides.prod() * rng.uniform(0.4, 1)),
                    "iscrowd": int(rng.random() < 0.2),
                }
            )
    # Areas that float32 would move over the borders of COCO's ranges.
    for entry, area in zip(content["annotations"], (32**2 + 1e-5, 96**2 - 1e-5, 96**2 + 1e-5)):
        entry["area"], entry["iscrowd"] = area, 0
    order = rng.permutation(len(content["annotations"]))
    content["annotations"] = [content["annotations"][k] for k in order]
    (root / "annotations").mkdir(exist_ok=True)
    for split in ("train2017", "val2017"):
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root
