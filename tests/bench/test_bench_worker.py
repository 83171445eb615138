"""The worker: protocol, check of outputs, and the file formats that engines read."""

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import tiny_detector, tiny_net

from bnn_tasks.bench import worker
from bnn_tasks.bench.contenders import ENTRIES, FP32, NNCF, OPENERS, OURS, QDQ, Entry
from bnn_tasks.bench.float_models import write_models, write_twin
from bnn_tasks.bench.machine import memory_bytes
from bnn_tasks.bench.material import Net, read_expected, read_fed, write_examples
from bnn_tasks.bench.peers.base import Contender
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import save

needs = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed (extra [bench])")
    for name in ("onnx", "onnxruntime", "openvino", "nncf")
}


@pytest.fixture(params=["tensor", "detector"])
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Net:
    detector = request.param == "detector"
    graph, tensors = tiny_detector() if detector else tiny_net()
    artifact = str(tmp_path / "net.safetensors")
    save(artifact, graph, tensors)
    made = Net("tiny", artifact, artifact, str(tmp_path), (32, 48), detector)
    rng = np.random.default_rng(0)
    shape = (3, 32, 48, 3)
    examples = rng.integers(0, 256, shape, np.uint8) if detector else rng.random(shape, np.float32)
    write_examples(made, Session(artifact), list(examples))
    write_twin(made)
    return made


def serve(name: str, net: Net, alternatives: list[Any], lines: str, seconds: float = 0.001) -> list[dict[str, Any]]:
    answers = io.StringIO()
    job = {"net": json.loads(json.dumps(net.to_dict())), "alternatives": alternatives}
    worker.serve({"name": name, "threads": 1, "seconds": seconds, "nets": [job]}, io.StringIO(lines), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_protocol(net: Net) -> None:
    opened, timed, memory = serve(OURS, net, [{}], "time 0 0.001\nmemory\n")
    (answer,) = opened["opened"]
    assert answer["options"] == {}
    assert answer["first_seconds"] > 0
    assert len(timed["seconds"]) >= worker.FEWEST
    assert all(seconds > 0 for seconds in timed["seconds"])
    assert memory["peak"] >= memory["resident"] > 0


def test_a_detector_of_one_channel_sees_the_luma(tmp_path: Path) -> None:
    """Of the same RGB pictures, in the artifact's session as in the peers."""
    artifact = str(tmp_path / "net.safetensors")
    save(artifact, *tiny_detector(channels=1))
    grey = Net("grey", artifact, artifact, str(tmp_path), (32, 48), True)
    examples = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    write_examples(grey, Session(artifact), list(examples))
    write_twin(grey)
    for x, fed in zip(examples, read_fed(grey), strict=True):  # within half a level of ITU-R BT.601
        np.testing.assert_allclose(fed[..., 0], x @ [0.299, 0.587, 0.114] / 255, atol=0.51 / 255)
    for name in (OURS, "torch-fp32"):
        opened, timed = serve(name, grey, [{}], "time 0 0.001\n")
        assert opened["opened"][0].get("error") is None, opened
        assert len(timed["seconds"]) >= worker.FEWEST


def test_torch_agrees_with_itself(net: Net) -> None:
    (opened, timed) = serve("torch-fp32", net, [{}], "time 0 0.001\n")
    (answer,) = opened["opened"]
    assert answer["agreement"]["correlation"] > 0.9999
    assert timed["seconds"]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        pytest.param("onnxruntime-fp32", [FP32], marks=[needs["onnx"], needs["onnxruntime"]]),
        pytest.param("onnxruntime-int8", [FP32, QDQ], marks=[needs["onnx"], needs["onnxruntime"]]),
        pytest.param("openvino-fp32", [FP32], marks=[needs["onnx"], needs["openvino"]]),
        pytest.param("openvino-int8", [FP32, NNCF], marks=[needs["onnx"], needs["openvino"], needs["nncf"]]),
    ],
)
def test_engines_compute_the_twin(name: str, files: list[str], net: Net) -> None:
    assert write_models(net, files, lambda text: None) == {}
    ways = [way for way in ENTRIES[name].alternatives if way.get("file") in files and way.get("precision") != "bf16"]
    opened, timed = serve(name, net, ways, "time 0 0.001\n")
    (answer,) = opened["opened"]
    assert "error" not in answer, answer
    assert answer["options"]["file"] == files[-1]
    assert answer["agreement"]["correlation"] >= ENTRIES[name].correlation
    assert timed["seconds"]
    if name.startswith("openvino"):
        assert ("u8" if name.endswith("int8") else "f32") in answer["about"]["runs"]


def test_the_fastest_way_that_is_right_counts(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_way(net: Net, threads: int, options: Any) -> Contender:
        if options["way"] == "none":
            raise RuntimeError("no such way\nand more")
        loops = {"slow": 20_000, "fast": 2000, "wrong": 0}[options["way"]]
        expected = read_expected(net)
        found = [np.roll(y, 1) + 1 for y in expected] if options["way"] == "wrong" else expected
        return Contender(lambda index: sum(range(loops)), lambda: found)

    monkeypatch.setitem(OPENERS, "torch", lambda: open_way)
    ways = [{"way": way} for way in ("none", "slow", "fast", "wrong")]
    (opened,) = serve("torch-fp32", net, ways, "")
    assert opened["opened"][0]["options"] == {"way": "fast"}
    (opened,) = serve("torch-fp32", net, [{"way": "none"}, {"way": "wrong"}], "")
    error = opened["opened"][0]["error"]
    assert error.startswith("RuntimeError: no such way and more; ValueError: refused, since it computes something else")


def test_an_engines_own_clock_counts() -> None:
    assert set(worker.turn(Contender(lambda index: None, list, clock=lambda: 7.0), 1, 0.0)) == {7.0}


def test_agreement() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1, 5, 4), np.float32)
    assert worker.agreement([y], [y]) == {"correlation": 1.0, "error": 0.0}
    assert worker.agreement([y], [2 * y])["correlation"] == pytest.approx(1.0)
    assert worker.agreement([y], [-y])["correlation"] == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="shapes"):
        worker.agreement([y], [y[:, :4]])
    with pytest.raises(ValueError, match="finite"):
        worker.agreement([y], [np.full_like(y, np.nan)])


def test_what_fails_to_be_written_is_told(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnn_tasks.bench import float_models

    def fail(net: Net) -> None:
        raise RuntimeError("no exporter")

    monkeypatch.setattr(float_models, "write_onnx", fail)
    failures = write_models(net, [FP32, QDQ], lambda text: None)
    assert failures == {FP32: f"{FP32}: RuntimeError: no exporter", QDQ: f"{FP32}: RuntimeError: no exporter"}


def test_memory() -> None:
    resident, peak = memory_bytes()
    assert 2**20 < resident <= peak


def test_an_entry_needs_no_options() -> None:
    assert Entry("torch", "torch", ()).alternatives == ({},)
