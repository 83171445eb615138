"""A tiny detector through Lightning's trainer: what is logged, written, saved, and refused."""

import json
import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from nets import retinanet
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from two_stage_nets import faster_rcnn

from bnn_tasks.binary import OneCycle
from bnn_tasks.callbacks import DamagedImages, LastCheckpoint, ResultsWriter, SamplePictures
from bnn_tasks.data import SyntheticDetectionData
from bnn_tasks.models import RetinaNet
from bnn_tasks.tasks import DetectionTask

tiny = partial(retinanet, width=4, channels=4)


def data(root: Path, **arguments: Any) -> SyntheticDetectionData:
    """6 train, 2 val and 2 test pictures."""
    return SyntheticDetectionData(
        root, **{"sizes": [(64, 64)], "images": 10, "image_size": (48, 64), "batch_size": 3, **arguments}
    )


def task(model: Any = tiny, lr: float = 1e-3, **arguments: Any) -> DetectionTask:
    torch.manual_seed(0)
    return DetectionTask(
        model, ["circle", "square", "triangle"], partial(torch.optim.AdamW, lr=lr, weight_decay=0.1), **arguments
    )


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


class Record(L.Callback):
    """Learning rates, logged losses, and the precision of raw outputs in evaluation."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.dtypes: set[torch.dtype] = set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        def look(module: torch.nn.Module, args: Any, outputs: dict[str, list[Tensor]]) -> None:
            if not module.training:
                self.dtypes |= {x.dtype for maps in outputs.values() for x in maps}

        pl_module.model.register_forward_hook(look)

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "set"


@pytest.fixture(scope="module")
def fitted(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, L.Trainer, DetectionTask, Record]:
    folder = tmp_path_factory.mktemp("run")
    record = Record()
    callbacks = (
        LastCheckpoint(),
        ResultsWriter(),
        SamplePictures(count=2, score_threshold=0.0),
        DamagedImages(),
        record,
    )
    t, m = trainer(folder, *callbacks), task()
    t.fit(m, data(root))
    return folder, t, m, record


def test_fit_logs_what_it_promises(fitted: tuple) -> None:
    _, t, _, record = fitted
    logged = {name for name in t.callback_metrics if name.startswith("val/")}
    wanted = ["loss", "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    wanted += ["ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large", "voc_ap50_area", "voc_ap50_11point"]
    wanted += [f"{metric}/{name}" for metric in ("ap", "ap50", "voc_ap50") for name in ("circle", "square", "triangle")]
    assert logged == {f"val/{name}" for name in wanted}
    assert {"train/loss", "train/cls", "train/box"} <= set(t.callback_metrics)
    parts = float(t.callback_metrics["train/cls"]) + float(t.callback_metrics["train/box"])
    assert float(t.callback_metrics["train/loss"]) == pytest.approx(parts, rel=1e-5)
    assert math.isfinite(float(t.callback_metrics["val/loss"]))
    assert len(record.losses) == t.global_step == 4


def test_the_learning_rate_follows_the_schedule(fitted: tuple) -> None:
    _, _, _, record = fitted
    assert record.rates == pytest.approx([1e-3 * OneCycle()(step / 4) for step in range(4)])


def test_results_are_written(fitted: tuple, root: Path) -> None:
    folder, t, _, _ = fitted
    results = json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["val"]["step"] == 4
    for name, value in results["val"]["metrics"].items():
        logged = float(t.callback_metrics[name])
        assert value is None if math.isnan(logged) else value == pytest.approx(logged), name
    truth = json.loads((folder / "val" / "ground_truth.json").read_text())
    assert truth == json.loads(json.dumps(data(root).ground_truth("val")))
    assert results["val"]["images"] == len(truth["images"]) == 2
    names = [truth["categories"][a["category_id"] - 1]["name"] for a in truth["annotations"]]
    assert results["val"]["objects"] == {name: names.count(name) for name in ("circle", "square", "triangle")}
    history = json.loads((folder / "history.json").read_text(), parse_constant=pytest.fail)
    assert [entry["step"] for entry in history] == [2, 4]
    assert history[-1]["metrics"] == results["val"]["metrics"]
    assert not list(folder.rglob("*.part"))


def test_samples_are_drawn(fitted: tuple) -> None:
    folder, _, _, _ = fitted
    with Image.open(folder / "samples_val.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[0] >= 48
    assert pixels.shape[1] >= 2 * 64
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_the_checkpoint_loads_without_running_code(fitted: tuple) -> None:
    folder, t, m, _ = fitted
    path = folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == t.global_step
    assert checkpoint["bnn_tasks"] == {
        "classes": ["circle", "square", "triangle"],
        "resize": {"sizes": [[64, 64]], "rule": "letterbox"},
    }
    loaded = DetectionTask.load_from_checkpoint(
        path, model=tiny, optimizer=partial(torch.optim.SGD, lr=0.1), weights_only=True
    )
    assert loaded.classes == m.classes
    for name, tensor in m.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


class Remembers(RetinaNet):
    """Detects the ground truth, moved a little, beside a false alarm: an AP between 0 and 1."""

    def loss(self, outputs: Any, targets: Any) -> dict[str, Tensor]:
        self.targets += targets
        return super().loss(outputs, targets)

    def decode(self, outputs: Any, size: tuple[int, int]) -> list[Any]:
        from bnn_tasks.models import Boxes

        targets, self.targets = self.targets, []
        generator = torch.Generator().manual_seed(len(targets[0].boxes))
        found = []
        for target in targets:
            boxes = target.boxes + 2 * torch.randn(target.boxes.shape, generator=generator)
            boxes = torch.cat([boxes, torch.tensor([[5.0, 5.0, 40.0, 30.0]])])
            boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
            labels = torch.cat([target.labels, torch.tensor([1])])
            scores = torch.rand(len(boxes), generator=generator).sort(descending=True).values
            found.append(Boxes(boxes.clamp(0, 64), scores, labels))
        return found


def remembers(num_classes: int) -> RetinaNet:
    net = tiny(num_classes)
    net.__class__ = Remembers
    net.targets = []
    return net


@pytest.mark.parametrize("stage", ["val", "test"])
def test_the_logged_ap_is_the_one_of_the_written_files(stage: str, root: Path, tmp_path: Path) -> None:
    t = trainer(tmp_path, ResultsWriter())
    run = {"val": t.validate, "test": t.test}[stage]
    (logged,) = run(task(remembers), data(root), verbose=False)
    folder = tmp_path / stage
    coco = COCO(str(folder / "ground_truth.json"))
    predictions = json.loads((folder / "predictions.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco.dataset["images"]}
    assert all(names[p["image_id"]] == p["file_name"] for p in predictions)
    evaluation = COCOeval(coco, coco.loadRes(predictions), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    for index, name in enumerate(("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")):
        assert logged[f"{stage}/{name}"] == pytest.approx(evaluation.stats[index], abs=1e-6), name
    assert logged[f"{stage}/ar100"] == pytest.approx(evaluation.stats[8], abs=1e-6)
    assert 0 < logged[f"{stage}/ap"] < 1


def test_the_sanity_check_writes_nothing(root: Path, tmp_path: Path) -> None:
    callbacks = ResultsWriter(), SamplePictures(count=1)
    trainer(
        tmp_path, *callbacks, max_epochs=1, num_sanity_val_steps=1, check_val_every_n_epoch=5, limit_train_batches=1
    ).fit(task(), data(root))
    assert [p.name for p in tmp_path.iterdir()] == []


def test_bfloat16_trains_and_evaluates_in_float32(root: Path, tmp_path: Path) -> None:
    record, m = Record(), task()
    before = {name: p.detach().clone() for name, p in m.named_parameters()}
    trainer(tmp_path, record, max_epochs=1, precision="bf16-mixed").fit(m, data(root))
    assert record.dtypes == {torch.float32}
    assert all(math.isfinite(loss) for loss in record.losses)
    for name, parameter in m.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.isfinite(parameter).all(), name
    assert any(not torch.equal(p, before[name]) for name, p in m.named_parameters())


def test_averaged_weights_are_validated_and_saved(root: Path, tmp_path: Path) -> None:
    average = EMAWeightAveraging(decay=0.5)
    m = task(lr=0.1)
    trainer(tmp_path, average, LastCheckpoint(), ResultsWriter(), max_epochs=1).fit(m, data(root))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in checkpoint["state_dict"].items():
        assert torch.isfinite(tensor.float()).all(), name
    assert "current_model_state" in checkpoint
    latest, saved = checkpoint["current_model_state"], checkpoint["state_dict"]
    assert any(not torch.equal(latest[name], saved[name]) for name in saved if name.endswith("conv1.weight"))
    assert json.loads((tmp_path / "results.json").read_text())["val"]["step"] == 2


def test_a_loss_that_is_no_number_names_the_pictures(root: Path, tmp_path: Path) -> None:
    m = task()
    m.model.head.cls_logits.register_forward_hook(lambda module, args, output: output * float("nan"))
    with pytest.raises(ValueError, match=r"finite loss.*'cls': nan.*0000\d\d\.jpg.*gradient_clip_val"):
        trainer(tmp_path).fit(m, data(root))


def test_damaged_pictures_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    d = data(tmp_path / "set")
    d.prepare_data()
    victim = tmp_path / "set" / "JPEGImages" / "000001.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    damaged = DamagedImages()
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, damaged, max_epochs=1, limit_val_batches=0).fit(task(), d)
    assert damaged.names == {"000001.jpg"}
    assert "1 damaged training image(s) were left out: 000001.jpg" in caplog.text


def test_predictions_are_in_the_pictures_own_pixels(root: Path, tmp_path: Path) -> None:
    m = task(partial(tiny, score_threshold=0.0, max_detections=20))
    batches = trainer(tmp_path).predict(m, data(root))
    found = [image for batch in batches for image in batch["detections"]]
    assert [image.target.file_name for image in found] == ["000004.jpg", "000009.jpg"]
    for image in found:
        assert len(image.boxes) == len(image.scores) == len(image.labels) == 20
        assert (image.boxes >= 0).all()
        assert (image.boxes <= (64, 48, 64, 48)).all()


def one_image_losses(m: DetectionTask, d: SyntheticDetectionData) -> list[float]:
    """Each val image's loss in a batch of its own, the draws of regions from seed 0."""
    found = []
    with torch.no_grad():
        for batch in d.val_dataloader():
            torch.manual_seed(0)
            found.append(float(sum(m.model.loss(m.model(batch.images), batch.targets).values())))
    return found


@pytest.mark.parametrize("model", [tiny, faster_rcnn], ids=["RetinaNet", "Faster R-CNN"])
def test_the_evaluations_loss_is_the_mean_of_the_images_whatever_the_batch(model: Any, tmp_path: Path) -> None:
    logged = []
    for batch_size in (1, 2, 4):
        m = task(model).eval()
        d = data(tmp_path / "set", images=24, batch_size=batch_size)
        torch.manual_seed(batch_size)
        (metrics,) = trainer(tmp_path).validate(m, d, verbose=False)
        logged.append(metrics["val/loss"])
        if batch_size == 1:
            losses = one_image_losses(m, d)
            assert len(losses) > 3
            assert len(set(losses)) == len(losses)
            assert logged[0] == pytest.approx(np.mean(losses), rel=1e-5)
    assert logged == pytest.approx([logged[0]] * 3, rel=1e-4)


def test_one_image_left_over_does_not_end_the_fit(tmp_path: Path) -> None:
    """The coarsest level of 32 px is one position, over which BatchNorm has no variance in one image."""
    record = Record()
    d = data(tmp_path / "set", images=15, sizes=[(32, 32)], batch_size=4)
    trainer(tmp_path, record, max_epochs=1, limit_val_batches=0).fit(task(), d)
    assert len(d.records("train")) == 9
    assert len(record.losses) == 2


def test_validating_changes_nothing_of_the_training(root: Path, tmp_path: Path) -> None:
    found = []
    for validated in (True, False):
        m = task(faster_rcnn)
        torch.manual_seed(7)
        trainer(tmp_path, limit_val_batches=1.0 if validated else 0).fit(m, data(root))
        found.append(m.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("classes", [[], ["a", "a"]])
def test_bad_class_names(classes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"Expected `classes` to be a non-empty list of different names"):
        DetectionTask(tiny, classes, partial(torch.optim.SGD, lr=0.1))


def test_a_sheet_of_no_pictures() -> None:
    with pytest.raises(ValueError, match=r"Expected `count` to be >= 1, but got 0"):
        SamplePictures(count=0)
