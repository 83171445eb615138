"""A whole config of the smallest size, and what makes any config small."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L


class StepLog(L.Callback):
    """Appends the number of every finished step to a file, slowly enough to be killed in between."""

    def __init__(self, path: str, pause: float) -> None:
        self.path, self.pause = path, pause

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        with open(self.path, "a") as file:
            file.write(f"{trainer.global_step}\n")
        time.sleep(self.pause)


class OrderLog(L.Callback):
    """Appends the names of every training batch's pictures to a file, a line a batch."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        with open(self.path, "a") as file:
            file.write(f"{' '.join(target.file_name for target in batch.targets)}\n")


class Terminate(L.Callback):
    """Sends SIGTERM to its own process when a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def tiny_config(folder: Path, epochs: int = 2, callbacks: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """6 train, 2 val, 2 test pictures; 2 steps an epoch."""
    unit = {"class_path": "ReActUnit"}
    net = {
        "backbone": {
            "class_path": "ResNet",
            "init_args": {"depth": 18, "block": {"class_path": "ReActBlock"}, "width": 4, "stem_kernel": 3},
        },
        "neck": {"class_path": "FPN", "init_args": {"channels": 4, "unit": unit}},
        "head": {"class_path": "RetinaNetHead", "init_args": {"depth": 1, "unit": unit}},
    }
    names = ("LastCheckpoint", "ResultsWriter", "SamplePictures", "DamagedImages")
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
            "callbacks": [*({"class_path": name} for name in names), *callbacks],
        },
        "model": {
            "class_path": "DetectionTask",
            "init_args": {
                "model": {"class_path": "RetinaNet", "init_args": net},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
                "schedule": {"class_path": "OneCycle"},
            },
        },
        "data": {
            "class_path": "SyntheticDetectionData",
            "init_args": {
                "root": str(folder / "set"),
                "images": 10,
                "image_size": [48, 64],
                "sizes": [[64, 64]],
                "batch_size": 3,
                "num_workers": 0,
            },
        },
    }


def tiny_classification_config(folder: Path, epochs: int = 2) -> dict[str, Any]:
    """18 train, 6 val, 6 test pictures; 5 steps an epoch."""
    config = tiny_config(folder, epochs)
    block = {"class_path": "ReActBlock"}
    backbone = {"class_path": "CifarResNet", "init_args": {"depth": 8, "block": block, "width": 4}}
    config["model"]["class_path"] = "ClassificationTask"
    config["model"]["init_args"]["model"] = {"class_path": "Classifier", "init_args": {"backbone": backbone}}
    config["trainer"]["callbacks"].append({"class_path": "Telemetry", "init_args": {"every_n_steps": 5}})
    config["data"] = {
        "class_path": "SyntheticClassificationData",
        "init_args": {"root": str(folder / "set"), "images": 30, "batch_size": 4, "num_workers": 0},
    }
    return config


def tiny_segmentation_config(folder: Path) -> dict[str, Any]:
    """6 train, 2 val, 2 test pictures with masks; 2 steps."""
    config = tiny_config(folder, 1)
    backbone = {"class_path": "ResNet", "init_args": {"width": 4, "stem_kernel": 3}}
    decoder = {"class_path": "FCNDecoder", "init_args": {"channels": 8}}
    net = {"class_path": "Segmenter", "init_args": {"backbone": backbone, "decoder": decoder}}
    config["model"]["class_path"] = "SegmentationTask"
    config["model"]["init_args"]["model"] = net
    arguments = {
        "root": str(folder / "set"),
        "scenes": 10,
        "image_size": [48, 64],
        "sizes": [[64, 64]],
        "batch_size": 3,
    }
    config["data"] = {"class_path": "SyntheticSegmentationData", "init_args": arguments}
    return config


def shrink(config: dict[str, Any]) -> None:
    """Make the nets of a config narrow: every `width` and `channels` of an `init_args` becomes small."""
    for value in config.values():
        if isinstance(value, dict):
            shrink(value)
    for key, size in (("width", 4), ("channels", 8)):
        if isinstance(config.get(key), int):
            config[key] = size
        elif isinstance(config.get(key), list):
            config[key] = [size] * len(config[key])
