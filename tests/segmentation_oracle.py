"""A segmenter that reads the classes off the colours, and a set of pictures to use it on."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bnn_tasks.backbones import ReActBlock, ReActUnit, ResNet
from bnn_tasks.data.segmentation import MaskFolderData
from bnn_tasks.models import FPN, CrossEntropyLoss, PyramidDecoder, Segmenter
from bnn_tasks.tasks import SegmentationTask

CLASSES = ["sky", "road", "sign", "unseen"]  # of "unseen" there is no pixel
VOID, STEP = 255, 60


class Oracle(Segmenter):
    """Logits at half the size: minus the distance of a pixel's brightness from the class's own, so some pixels are wrong."""

    def __init__(self, num_classes: int) -> None:
        nn.Module.__init__(self)
        self.num_classes, self.feature_channels, self.feature_strides = num_classes, [3], [1]
        self.losses = nn.ModuleList([CrossEntropyLoss()])

    def features(self, images: Tensor) -> list[Tensor]:
        return [images]

    def predict(self, features: list[Tensor]) -> Tensor:
        own = torch.arange(self.num_classes, device=features[0].device).view(-1, 1, 1) * STEP / 255
        return -40 * (features[0].mean(1, keepdim=True)[..., ::2, ::2] - own).abs()


def write_set(root: Path, train: int = 6, val: int = 5, seed: int = 0) -> Path:
    """Pictures of two shapes; noisy brightness that tells the class, void rims, one val picture that is all void."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            height, width = (40, 60) if number % 2 else (48, 48)
            mask = rng.integers(0, 3, (height // 8 + 1, width // 12 + 1)).astype(np.uint8)
            mask = mask.repeat(8, 0).repeat(12, 1)[:height, :width]
            light = np.clip(mask * STEP + rng.normal(0, 25, mask.shape), 0, 255).astype(np.uint8)
            mask[:2] = VOID
            if (split, number) == ("val", 2):
                mask[:] = VOID
            Image.fromarray(np.stack([light] * 3, -1)).save(root / "images" / split / f"p{number}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"p{number}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def mask_data(root: Path, **arguments: Any) -> MaskFolderData:
    return MaskFolderData(root, **{"sizes": [(32, 48)], "rule": "letterbox", "batch_size": 2, **arguments})


def tiny_segmenter(num_classes: int, width: int = 4) -> Segmenter:
    backbone = ResNet(18, ReActBlock, width, 3, out_indices=(1, 2, 3, 4))
    return Segmenter(
        num_classes, backbone, partial(PyramidDecoder, neck=partial(FPN, channels=8, unit=ReActUnit), unit=ReActUnit)
    )


def segmentation_task(model: Any = tiny_segmenter, lr: float = 1e-3, **arguments: Any) -> SegmentationTask:
    torch.manual_seed(0)
    return SegmentationTask(model, CLASSES, partial(torch.optim.AdamW, lr=lr, weight_decay=0.1), **arguments)


def trainer(folder: Path, *callbacks: Any, **arguments: Any) -> L.Trainer:
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "default_root_dir": folder,
            "callbacks": list(callbacks),
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            **arguments,
        }
    )


def segmentation_config(folder: Path, root: Path, epochs: int = 1) -> dict[str, Any]:
    """3 steps an epoch."""
    unit = {"class_path": "ReActUnit"}
    net = {
        "backbone": {
            "class_path": "ResNet",
            "init_args": {
                "block": {"class_path": "ReActBlock"},
                "width": 4,
                "stem_kernel": 3,
                "out_indices": [1, 2, 3, 4],
            },
        },
        "decoder": {
            "class_path": "PyramidDecoder",
            "init_args": {
                "neck": {"class_path": "FPN", "init_args": {"channels": 8, "unit": unit}},
                "unit": unit,
            },
        },
    }
    callbacks = ("LastCheckpoint", "ResultsWriter", "SamplePictures", "DamagedImages")
    return {
        "seed_everything": 0,
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "default_root_dir": str(folder),
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "callbacks": [{"class_path": name} for name in callbacks],
        },
        "model": {
            "class_path": "SegmentationTask",
            "init_args": {
                "model": {"class_path": "Segmenter", "init_args": net},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
            },
        },
        "data": {
            "class_path": "MaskFolderData",
            "init_args": {"root": str(root), "sizes": [[32, 48]], "batch_size": 2},
        },
    }
