"""Two processes evaluate as one does: the same figures, bit by bit, and the same files."""

import json
import math
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from detection_oracle import Oracle, write_coco_set

from bnn_tasks.callbacks import ResultsWriter, SamplePictures
from bnn_tasks.callbacks.detection_curves import DetectionCurves
from bnn_tasks.data import CocoDetectionData
from bnn_tasks.tasks import DetectionTask
from bnn_tasks.tasks.gather import gather

IMAGES = 7  # uneven: Lightning gives one of two processes an image twice


class WriteLogged(L.Callback):
    """Every process writes what it has logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            assert torch.distributed.get_world_size() == trainer.world_size
        values = {name: float(value).hex() for name, value in trainer.callback_metrics.items()}
        (self.folder / f"rank{trainer.global_rank}of{trainer.world_size}.json").write_text(json.dumps(values))


def evaluate(root: Path, folder: Path, devices: int) -> None:
    folder.mkdir()
    data = CocoDetectionData(root, [(64, 64), (48, 96)], batch_size=2)
    callbacks = [ResultsWriter(), SamplePictures(count=3), DetectionCurves(), WriteLogged(folder)]
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_spawn" if devices > 1 else "auto",
        default_root_dir=folder,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    task = DetectionTask(Oracle, data.class_names, partial(torch.optim.SGD, lr=0.1))
    trainer.validate(task, data, verbose=False)


@pytest.mark.filterwarnings("ignore:.*use `DistributedSampler`.*", "ignore:.*isinstance.treespec, LeafSpec.*")
def test_two_processes_are_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = write_coco_set(tmp_path / "set", images=IMAGES)
    one, two = tmp_path / "one", tmp_path / "two"
    evaluate(root, one, 1)
    evaluate(root, two, 2)
    logged = json.loads((one / "rank0of1.json").read_text())
    for rank in (0, 1):
        assert json.loads((two / f"rank{rank}of2.json").read_text()) == logged
    assert 0 < float.fromhex(logged["val/ap"]) < 1
    ids = [image["id"] for image in json.loads((one / "val" / "ground_truth.json").read_text())["images"]]
    assert float.fromhex(logged["val/loss"]) == pytest.approx(sum(ids) / IMAGES), "every image once"
    written = {path.relative_to(one) for path in one.rglob("*.*") if not path.name.startswith("rank")}
    assert written == {path.relative_to(two) for path in two.rglob("*.*") if not path.name.startswith("rank")}
    assert {"predictions.json", "ground_truth.json", "precision_recall.png"} <= {path.name for path in written}
    for path in written:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path
    assert json.loads((two / "results.json").read_text())["val"]["images"] == IMAGES
    assert not math.isnan(float.fromhex(logged["val/voc_ap50_area"]))


@pytest.mark.parametrize("count", [1, 7, 8])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_was_dealt_out_comes_back_in_order(count: int, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two in turn; of a sampler that repeats images to even the shares out, each image once."""
    padded = [k % count for k in range(-(-count // (2 * world)) * 2 * world)]
    batches = [padded[k : k + 2] for k in range(0, len(padded), 2)]
    hands = [batches[rank::world] for rank in range(world)]

    def give_all(parts: list, own: list) -> None:
        assert own == hands[0]
        parts[:] = hands

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
    monkeypatch.setattr(torch.distributed, "all_gather_object", give_all)
    assert gather(hands[0], lambda item: item) == list(range(count))


def test_one_process_keeps_its_list() -> None:
    assert gather([[3, 1], [3]], lambda item: item) == [3, 1, 3]
