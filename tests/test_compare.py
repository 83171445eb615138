"""Matching the detections of two nets; what stands before the torch net; where a sheet may be written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import shake
from PIL import Image

from bnn_tasks.backbones import CifarResNet, ReActBlock
from bnn_tasks.compare import unmatched
from bnn_tasks.compare.classification import compare_classifiers
from bnn_tasks.compare.detection import compare_detectors
from bnn_tasks.compare.segmentation import compare_segmenters
from bnn_tasks.compare.sheet import check_sheet
from bnn_tasks.data import SyntheticClassificationData
from bnn_tasks.export import export
from bnn_tasks.models import Classifier
from bnn_tasks.runtime import Detections, Session
from bnn_tasks.tasks import ClassificationTask


def detections(*rows: tuple[float, ...]) -> Detections:
    values = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def test_what_counts_as_matched() -> None:
    reference = detections(
        (0, 0, 100, 100, 0.90, 0),
        (0, 0, 100, 100, 0.90, 1),  # found with another class
        (200, 0, 300, 100, 0.80, 0),  # found 3 px off: IoU 0.94
        (0, 200, 100, 300, 0.50, 0),  # found with another score
        (5, 0, 9, 0, 0.30, 0),  # no area left after clipping, found all the same
        (50, 50, 60, 60, 0.04, 0),  # too weak to count
    )
    found = detections(
        (0, 1, 100, 101, 0.895, 0),
        (203, 0, 303, 100, 0.80, 0),
        (0, 200, 100, 300, 0.52, 0),
        (5, 0, 9, 0, 0.30, 0),
    )
    assert unmatched(reference, found) == [1, 2, 3]


def test_one_detection_matches_once() -> None:
    twice = detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.9, 0))
    assert unmatched(twice, detections((0, 0, 10, 10, 0.9, 0))) == [1]
    assert unmatched(twice, detections()) == [0, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_classifiers_of_one_channel_and_of_three(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = SyntheticClassificationData(tmp_path / "set", images=30, num_workers=0)
    data.prepare_data()
    backbone = CifarResNet(8, ReActBlock, 4, in_channels=channels)
    values = [0.5] * channels
    task = ClassificationTask(
        lambda classes: Classifier(classes, backbone, mean=values, std=values), data.class_names, torch.optim.SGD
    )
    shake(task.eval())
    path = tmp_path / "net.safetensors"
    example = torch.rand(1, channels, 32, 32)
    export(task.model, path, example=example, classes=data.class_names, resize=data.resize)
    session = Session(path)
    result = compare_classifiers(task, session, data, "val", tmp_path / "new" / "sheet.png")
    assert result.cost.images == 6
    assert result.agreed + result.traced == 6
    pictures = data.pictures("val")
    labels = [(session([pictures.read(index)])[0].label, pictures.samples[index].label) for index in range(6)]
    assert result.runtime_metrics["top1"] == pytest.approx(np.mean([found == true for found, true in labels]))
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.width > 32


def test_where_a_sheet_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=r"`sheet` to be a file to write.*folder\.png.*Cure"):
        check_sheet(tmp_path / "folder.png")
    for name in ("sheet.xyz", "sheet"):
        with pytest.raises(ValueError, match=r"Cure: a name that ends with \.png"):
            check_sheet(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_sheet(tmp_path / "file" / "sheet.png")
    (tmp_path / "earlier.jpg").write_bytes(b"kept")
    check_sheet(tmp_path / "earlier.jpg")
    check_sheet(tmp_path / "new" / "sheet.PNG")
    assert (tmp_path / "earlier.jpg").read_bytes() == b"kept"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_sheet_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """No task, no artifact and no data are needed to say so."""
    nothing: Any = None
    for compare_nets in (compare_classifiers, compare_detectors, compare_segmenters):
        with pytest.raises(ValueError, match="`sheet`"):
            compare_nets(nothing, nothing, nothing, "val", tmp_path)
