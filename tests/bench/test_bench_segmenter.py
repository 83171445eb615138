"""A segmenter beside other engines: every one resizes its logits to the input and takes the argmax, and is timed so."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import shake
from segmenter_nets import segmenter

from bnn_tasks.bench.contenders import FP32
from bnn_tasks.bench.float_models import write_onnx, write_twin
from bnn_tasks.bench.layers import bench_layers
from bnn_tasks.bench.material import Net, read_expected, read_fed, write_examples
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
    net = shake(segmenter("deeplabv3plus"))
    export(net, path, example=torch.rand(1, 3, *SIZE), classes=["a", "b", "c"], resize=Resize((SIZE,), "stretch"))
    return path


def test_the_twin_ends_in_the_class_map(artifact: Path) -> None:
    graph, tensors = load(artifact)
    net = float_net(graph, tensors)
    assert net.mean is not None, "normalisation is left to whoever feeds the twin, though the resize names the picture"
    assert raw_outputs(graph) == [graph.outputs, "segmenter.classes"]
    assert [op.op for op in net.ops[-2:]] == ["resize_bilinear", "argmax"]
    dilations = {tuple(op.attrs["dilation"]) for op in net.ops if op.op == "conv2d"}
    assert {(2, 2), (3, 3)} <= dilations
    with torch.inference_mode():
        logits, classes = make_twin(net)(torch.randn(1, 3, *SIZE))
    assert torch.equal(classes, F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False).argmax(1))


def test_the_written_model_resizes_and_takes_the_argmax(artifact: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = Net("net", str(artifact), str(artifact), str(tmp_path), SIZE, False)
    write_examples(net, Session(artifact), [np.random.default_rng(0).random((*SIZE, 3), np.float32)])
    write_twin(net)
    write_onnx(net)
    session = onnxruntime.InferenceSession(str(net.path(FP32)), providers=["CPUExecutionProvider"])
    x = np.ascontiguousarray(read_fed(net)[0].transpose(2, 0, 1)[None])
    logits, classes = session.run(None, {session.get_inputs()[0].name: x})
    expected_logits, expected_classes = read_expected(net)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-3 * expected_logits.std())
    assert classes.shape == (1, *SIZE)
    assert (classes == expected_classes).mean() > 0.999


def test_it_races_from_tensor_to_class_map(artifact: Path) -> None:
    report = bench(artifact, ["torch"], rounds=1, turn_seconds=0.01)
    (facts,) = report.to_dict()["nets"]
    rows = {row["contender"]: row for row in facts["contenders"]}
    assert rows["torch-fp32"]["ratio"] > 0, rows["torch-fp32"]
    assert "tensor to class map" in str(report)


def test_the_end_is_a_step_of_its_own(artifact: Path) -> None:
    assert "resize_bilinear + argmax" in str(bench_layers(str(artifact), 1, None, 1))
