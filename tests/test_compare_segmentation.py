"""A segmenter beside its artifact: equal pixels, and what is said of those that are not."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from nets import shake
from segmentation_oracle import CLASSES, mask_data, segmentation_config, segmentation_task, tiny_segmenter, write_set
from torch import nn

from bnn_tasks.cli import main
from bnn_tasks.compare.segmentation import compare_segmenters
from bnn_tasks.data import MaskFolderData
from bnn_tasks.export import export
from bnn_tasks.runtime import Segmentation, Session, read_image
from bnn_tasks.tasks import SegmentationTask


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> tuple[SegmentationTask, Path, MaskFolderData]:
    folder = tmp_path_factory.mktemp("compare")
    data = mask_data(write_set(folder / "set"))
    task = segmentation_task(tiny_segmenter)
    shake(task.eval())
    export(
        task.model, folder / "net.safetensors", example=torch.rand(1, 3, 32, 48), classes=CLASSES, resize=data.resize
    )
    return task, folder / "net.safetensors", data


def miou(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """(predicted, true) masks; a loop over classes, void left out."""
    found = []
    for k in range(len(CLASSES)):
        inter = sum(((p == k) & (t == k)).sum() for p, t in pairs)
        union = sum((((p == k) | (t == k)) & (t != 255)).sum() for p, t in pairs)
        if union:
            found.append(inter / union)
    return float(np.mean(found))


def test_an_artifact_is_its_net(nets: tuple, tmp_path: Path) -> None:
    task, path, data = nets
    sheet = tmp_path / "sheet.png"
    result = compare_segmenters(task, Session(path), data, "val", sheet)
    records = data.records("val")
    assert result.pixels == sum(record.height * record.width for record in records)
    assert result.equal + result.close + result.traced == result.pixels
    assert result.equal > 0.99 * result.pixels
    assert result.cost.images == len(records) == 5
    session, read_mask = Session(path), data.coding("val").read
    pairs = [(session([read_image(r.path)])[0].classes, read_mask(r.mask)) for r in records]
    assert result.runtime_metrics["miou"] == pytest.approx(miou(pairs))
    right = sum(((p == t) & (t != 255)).sum() for p, t in pairs) / sum((t != 255).sum() for _, t in pairs)
    assert result.runtime_metrics["pixel_accuracy"] == pytest.approx(right)
    assert result.torch_metrics["miou"] == pytest.approx(result.runtime_metrics["miou"], abs=0.01)
    assert sheet.stat().st_size > 0
    assert "0 unexplained" in str(result)


def test_a_wrong_pixel_is_not_explained(nets: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    task, path, data = nets
    call = Session.__call__

    def wrong(self: Session, images: list[np.ndarray]) -> list[Segmentation]:
        found = call(self, images)
        for each in found:
            each.classes[5, 7] = (each.classes[5, 7] + 1) % len(CLASSES)
        return found

    monkeypatch.setattr(Session, "__call__", wrong)
    result = compare_segmenters(task, Session(path), data, "val")
    assert result.pixels - result.equal >= 5
    assert result.pixels - result.equal - result.close - result.traced >= 1
    assert "0 unexplained" not in str(result)


def test_a_pixel_between_two_classes_is_close(nets: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    task, path, data = nets
    monkeypatch.setattr("bnn_tasks.compare.segmentation.GAP", 1e9)
    call = Session.__call__
    monkeypatch.setattr(
        Session, "__call__", lambda self, images: [Segmentation(3 - f.classes) for f in call(self, images)]
    )
    result = compare_segmenters(task, Session(path), data, "val")
    assert result.close == result.pixels - result.equal > 0


def test_from_config_and_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """fit, export, compare and run by the command line."""
    root = write_set(tmp_path / "set")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(segmentation_config(tmp_path / "run", root)))
    main(["fit", "--config", str(config)])
    (checkpoint,) = list((tmp_path / "run").rglob("last.ckpt"))[:1]
    artifact = tmp_path / "net.safetensors"
    main(["export", str(checkpoint), "--out", str(artifact)])
    assert "pixels" in capsys.readouterr().out
    script = Path(__file__).parents[1] / "scripts" / "compare.py"
    monkeypatch.setattr(sys, "argv", ["compare.py", str(config), str(checkpoint), str(artifact), "--split", "val"])
    runpy.run_path(str(script), run_name="__main__")
    text = capsys.readouterr().out
    assert "mIoU" in text
    assert "0 unexplained" in text
    other = segmentation_task(tiny_segmenter).model.eval()
    other.decoder = nn.Sequential(other.decoder, nn.ReLU())
    export(other, artifact, example=torch.rand(1, 3, 32, 48), classes=CLASSES, resize=mask_data(root).resize)
    with pytest.raises(SystemExit):
        runpy.run_path(str(script), run_name="__main__")
    said = f"{str(artifact)!r} to be exported from {str(checkpoint)!r}, but it is of another net"
    assert said in capsys.readouterr().err
    main(["export", str(checkpoint), "--out", str(artifact)])
    main(["run", str(artifact), str(root / "images" / "val"), "--out", str(tmp_path / "out")])
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 5
