"""Two processes evaluate a segmenter as one does: the same figures, bit by bit, and the same files."""

import json
from pathlib import Path

import lightning as L
import pytest
from segmentation_oracle import Oracle, mask_data, segmentation_task, trainer, write_set

from bnn_tasks.callbacks import ResultsWriter, SamplePictures


class WriteLogged(L.Callback):
    """Every process writes what it has logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        values = {name: float(value).hex() for name, value in trainer.callback_metrics.items()}
        (self.folder / f"rank{trainer.global_rank}of{trainer.world_size}.json").write_text(json.dumps(values))


def evaluate(root: Path, folder: Path, devices: int) -> None:
    folder.mkdir()
    callbacks = [ResultsWriter(), SamplePictures(count=3), WriteLogged(folder)]
    strategy = "ddp_spawn" if devices > 1 else "auto"
    data = mask_data(root, sizes=[(32, 32), (32, 48)])
    trainer(folder, *callbacks, devices=devices, strategy=strategy).validate(
        segmentation_task(Oracle), data, verbose=False
    )


@pytest.mark.filterwarnings("ignore:.*use `DistributedSampler`.*", "ignore:.*isinstance.treespec, LeafSpec.*")
def test_two_processes_are_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = write_set(tmp_path / "set", val=7)
    one, two = tmp_path / "one", tmp_path / "two"
    evaluate(root, one, 1)
    evaluate(root, two, 2)
    logged = json.loads((one / "rank0of1.json").read_text())
    for rank in (0, 1):
        assert json.loads((two / f"rank{rank}of2.json").read_text()) == logged
    assert 0 < float.fromhex(logged["val/miou"]) < 1
    written = {path.relative_to(one) for path in one.rglob("*.*") if not path.name.startswith("rank")}
    assert written == {path.relative_to(two) for path in two.rglob("*.*") if not path.name.startswith("rank")}
    assert len([path for path in written if path.parent.name == "masks"]) == 7
    for path in written:
        assert (one / path).read_bytes() == (two / path).read_bytes(), path
    assert json.loads((two / "results.json").read_text())["val"]["images"] == 7
