"""Misses of a detector of two stages are traced through its proposals and its box head."""

from pathlib import Path

import pytest
import torch
from nets import shake
from two_stage_nets import faster_rcnn, sharpen

from bnn_tasks.compare.detection import compare_detectors
from bnn_tasks.data import SyntheticDetectionData
from bnn_tasks.export import export
from bnn_tasks.models.proposals import Candidates, Proposals
from bnn_tasks.runtime import Session
from bnn_tasks.tasks import DetectionTask


@pytest.mark.parametrize("differ", [False, True])
def test_every_miss_is_traced(differ: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    data = SyntheticDetectionData(tmp_path / "set", images=10, image_size=(48, 64), sizes=[(64, 64)], num_workers=0)
    data.prepare_data()
    data.setup("test")
    task = DetectionTask(lambda classes: sharpen(faster_rcnn(classes)), data.class_names, torch.optim.SGD)
    shake(task.eval())
    path = tmp_path / "net.safetensors"
    example = torch.rand(1, 3, 64, 64)
    export(task.model, path, example=example, classes=data.class_names, resize=data.resize)
    if differ:  # as where the artifact kept the best candidate by a rounding, and with it other ones
        choose = Proposals.choose
        monkeypatch.setattr(
            Proposals,
            "choose",
            lambda self, found: choose(self, Candidates(found.boxes[1:], found.logits[1:], found.levels[1:])),
        )
    result = compare_detectors(task, Session(path), data, "val")
    missed = result.detections - result.matched
    assert result.detections > 10
    assert (missed > 0) == differ
    assert missed == result.traced + result.decided
    assert "0 unexplained" in str(result)
