"""`bnn-tasks bench` in-process: a run from end to end, and what it says about bad input."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graphs import GEOMETRY, node, tiny_detector, tiny_net
from PIL import Image

from bnn_tasks.bench import process, whole
from bnn_tasks.bench.float_models import write_twin
from bnn_tasks.bench.material import Net
from bnn_tasks.bench.whole import bench
from bnn_tasks.cli import main
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import Graph, save
from bnn_tasks.runtime.session import cores

FAKE = (sys.executable, str(Path(__file__).parent / "fake_worker.py"))


@pytest.fixture
def detector(tmp_path: Path) -> str:
    save(tmp_path / "net.safetensors", *tiny_detector())
    return str(tmp_path / "net.safetensors")


def stopped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must end with status 2 and one line on stderr; the line."""
    with pytest.raises(SystemExit) as stop:
        main(["bench", *arguments])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_detector_from_end_to_end(detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for name, size in (("a.png", (40, 90)), ("b.jpg", (64, 64))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / "pictures" / name)
    file = tmp_path / "figures.json"
    options = ["--against", "torch", "--repeats", "2", "--size", "48", "64", "--images", str(tmp_path / "pictures")]
    main(["bench", detector, *options, "--json", str(file)])
    text = capsys.readouterr().out
    assert "net, 48×64, picture to detections" in text
    assert "2 picture(s) in rotation, detections: " in text
    (facts,) = json.loads(file.read_text())["nets"]
    assert facts["artifact_bytes"] == Path(detector).stat().st_size
    rows = {row["contender"]: row for row in facts["contenders"]}
    assert set(rows) == {"bnn_tasks", "torch-fp32"}
    assert rows["torch-fp32"]["ratio"] > 0
    assert rows["torch-fp32"]["peak"] > rows["bnn_tasks"]["peak"] > 0


def test_a_detector_of_one_channel_takes_rgb_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "COMMAND", FAKE)
    save(tmp_path / "grey.safetensors", *tiny_detector(channels=1))
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    for images in (tmp_path, None):
        report = bench(tmp_path / "grey.safetensors", ["torch"], rounds=1, images=images)
        assert [result.error for result in report.results] == [None, None]
        found = report.nets[0].found
        assert len(found) == (1 if images else whole.EXAMPLES)
        assert not images or found[0] == len(Session(tmp_path / "grey.safetensors")([image])[0])


def test_pictures_for_a_net_of_one_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its examples are the pictures' luma."""
    monkeypatch.setattr(process, "COMMAND", FAKE)
    given: list[np.ndarray] = []
    monkeypatch.setattr(whole, "write_examples", lambda net, session, examples: given.extend(examples))
    nodes = (node("y", "conv2d", "images", GEOMETRY, weight="w"),)
    save(tmp_path / "net.safetensors", Graph(nodes, "y", channels=1), {"w": np.ones((2, 1, 3, 3), np.float32)})
    grey = np.arange(0, 192, 4, np.uint8).reshape(6, 8)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "a.png")
    bench(tmp_path / "net.safetensors", ("none",), size=(6, 8), rounds=1, images=tmp_path)
    (x,) = given
    np.testing.assert_array_equal(x, grey[..., None].astype(np.float32) / np.float32(255))


def test_sigterm_leaves_nothing(detector: str, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    code = f"""
from bnn_tasks.bench import process
process.COMMAND = {FAKE!r}
from bnn_tasks.cli import main
main(["bench", {detector!r}, "--against", "none", "--repeats", "1000000"])
"""
    command = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )
    assert command.stderr is not None
    assert any("round 1 of" in line for line in command.stderr)
    assert [path.name.startswith("bnn_tasks_bench_") for path in (tmp_path / "temporary").iterdir()] == [True]
    command.send_signal(signal.SIGTERM)
    command.communicate(timeout=60)
    assert command.returncode == 143
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_float_net_beside_it(detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers are given the other artifact, and are judged by its twin."""
    monkeypatch.setattr(process, "COMMAND", FAKE)
    save(tmp_path / "other.safetensors", *tiny_net())
    twins: list[Net] = []
    monkeypatch.setattr(whole, "write_twin", lambda net: (write_twin(net), twins.append(net)))
    report = bench(detector, ["torch"], size=(16, 16), rounds=1, float_model=tmp_path / "other.safetensors")
    assert [result.error for result in report.results] == [None, None]
    (net,) = twins
    assert net.float_artifact == str(tmp_path / "other.safetensors")
    assert Path(net.artifact).parent == Path(net.folder)


def test_without_peers_and_without_torch(detector: str) -> None:
    """The runtime's own install times itself, and says what the peers need. The worker of this test is invented."""
    code = f"""
import sys
for name in ("torch", "onnx", "onnxruntime", "openvino", "nncf"):
    sys.modules[name] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if sys.modules.get(name, 1) is None else found(name, *more)
from bnn_tasks.bench import process
process.COMMAND = {FAKE!r}
from bnn_tasks.cli import main
main(["bench", {detector!r}, "--repeats", "1"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "no figure" in line]
    assert len(lines) == 6
    assert all("needs torch" in line and "pip install 'bnn-tasks[bench]'" in line for line in lines)
    assert "  bnn_tasks " in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed (extra [bench])")
def test_importing_the_command_starts_no_engine() -> None:
    """Nor does the worker that runs the artifact."""
    code = """
import bnn_tasks.bench.command, bnn_tasks.bench.worker, bnn_tasks.bench.peers.ours, bnn_tasks.runtime.program.timing, sys
print([m for m in ('torch', 'onnxruntime', 'openvino') if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_bad_input(detector: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing.safetensors" in stopped([str(tmp_path / "missing.safetensors")], capsys)
    (tmp_path / "text.safetensors").write_text("no artifact")
    assert "safetensors" in stopped([str(tmp_path / "text.safetensors")], capsys)
    line = stopped([detector, "--against", "torch,tvm"], capsys)
    assert "'tvm'" in line
    assert "openvino-int8" in line
    for threads in (0, cores() + 1):
        assert f"[1, {cores()}]" in stopped([detector, "--threads", str(threads)], capsys)
    assert "at least 1" in stopped([detector, "--repeats", "0"], capsys)
    assert "at least 1 px" not in stopped([detector, "--size", "0", "5", "--against", "none"], capsys)
    assert "either" in stopped([], capsys)
    assert "either" in stopped([detector, "--convolutions"], capsys)
    assert "folder that exists" in stopped([detector, "--json", str(tmp_path / "no" / "file.json")], capsys)
    assert "Is a directory. Cure" in stopped([detector, "--json", str(tmp_path)], capsys)
    (tmp_path / "earlier.json").write_text("kept")
    for name in ("earlier.json", "new.json"):
        stopped([detector, "--repeats", "0", "--json", str(tmp_path / name)], capsys)
    assert (tmp_path / "earlier.json").read_text() == "kept"
    assert not (tmp_path / "new.json").exists()
    assert "no_pictures" in stopped([detector, "--against", "none", "--images", str(tmp_path / "no_pictures")], capsys)
    (tmp_path / "empty").mkdir()
    assert "--layers without --images" in stopped([detector, "--layers", "--images", "pictures"], capsys)
    assert "--convolutions without --against, --size" in stopped(
        ["--convolutions", "--against", "torch", "--size", "8", "8"], capsys
    )
    assert "found none" in stopped([detector, "--against", "none", "--images", str(tmp_path / "empty")], capsys)
    save(tmp_path / "any.safetensors", *tiny_net())
    assert "--size H W" in stopped([str(tmp_path / "any.safetensors")], capsys)
    assert "missing" in stopped([detector, "--float-net", str(tmp_path / "missing.safetensors")], capsys)


@pytest.mark.parametrize("mode", [["--layers"], ["--against", "none"]])
def test_an_input_that_is_too_small_is_told_of_the_file(
    mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = (node("y", "conv2d", "images", {**GEOMETRY, "padding": [0, 0]}, weight="w"),)
    path = tmp_path / "valid.safetensors"
    save(path, Graph(nodes, "y"), {"w": np.ones((2, 3, 5, 7), np.float32)})
    assert f"{path}: Expected an input of at least 5×7 px, but got 4×9" in stopped(
        [str(path), *mode, "--size", "4", "9"], capsys
    )
