"""A detector of two stages beside other engines: its box head is timed too, on the artifact's own features of regions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import shake
from two_stage_nets import faster_rcnn, sharpen

from bnn_tasks.bench.ending import Ending
from bnn_tasks.bench.simplify import float_net, raw_outputs
from bnn_tasks.bench.twin import make_twin
from bnn_tasks.bench.whole import bench
from bnn_tasks.export import export
from bnn_tasks.runtime import Resize, Session
from bnn_tasks.runtime.format import load

SIZE = (48, 64)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bench") / "net.safetensors"
    net = sharpen(shake(faster_rcnn(2)))
    export(net, path, example=torch.rand(1, 3, *SIZE), classes=["a", "b"], resize=Resize((SIZE,)))
    return path


def test_the_twin_has_the_box_head(artifact: Path) -> None:
    graph, tensors = load(artifact)
    net = float_net(graph, tensors)
    assert net.given == ("detector.regions",)
    values = Session(artifact).values(np.random.default_rng(0).random((3, *SIZE), np.float32))
    with torch.inference_mode():
        x, regions = (torch.from_numpy(values[name])[None] for name in ("images", *net.given))
        found = dict(zip(net.outputs, make_twin(net)(x, regions)))
    assert [tuple(y.shape) for y in found.values()] == [(1, *values[name].shape) for name in raw_outputs(graph)]
    shapes = [op.tensors["weight"].shape for op in net.ops if op.op == "conv2d"]
    assert (16, 72, 1, 1) in shapes
    assert (16, 16, 1, 1) in shapes


def test_the_ending_gives_the_sessions_detections(artifact: Path) -> None:
    graph, tensors = load(artifact)
    session = Session(artifact)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    values = session.values(image.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    maps = {name: np.ascontiguousarray(values[name].transpose(1, 2, 0)) for name in raw_outputs(graph)}
    found, wanted = Ending(graph, tensors, maps, SIZE)(maps), session([image])[0]
    assert len(found) > 2
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_array_equal(found.labels, wanted.labels)


def test_it_races_from_picture_to_detections(artifact: Path) -> None:
    report = bench(artifact, ["torch"], rounds=1, turn_seconds=0.01)
    (facts,) = report.to_dict()["nets"]
    rows = {row["contender"]: row for row in facts["contenders"]}
    assert rows["torch-fp32"]["ratio"] > 0, rows["torch-fp32"]
    assert "picture to detections" in str(report)
