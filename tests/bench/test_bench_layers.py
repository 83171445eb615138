"""`bench --layers`, on invented timings: lines, shares, sums."""

import json
import os
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from graphs import tiny_detector
from program_cases import needs_kernels

import bnn_tasks.runtime.program
from bnn_tasks.bench.layers import bench_layers
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.format import save


@dataclass(frozen=True)
class StepTime:
    name: str
    kind: str
    seconds: float
    binary_ops: int
    float_ops: int


STEPS = [
    StepTime("stem", "float convolution", 40e-6, 0, 2_000_000),
    StepTime("layer1", "binary convolution", 10e-6, 20_000_000, 0),
    StepTime("layer2", "binary convolution", 30e-6, 20_000_000, 0),
    StepTime("pool", "pool", 20e-6, 0, 0),
]


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def time_steps(session: Session, height: int, width: int, repeats: int) -> list[StepTime]:
        assert (height, width, repeats) == (32, 48, 7)
        return STEPS

    timing = types.ModuleType("bnn_tasks.runtime.program.timing")
    timing.__dict__.update(time_steps=time_steps, popcount_peak=lambda: 4e12, fma_peak=lambda: 1e11)
    monkeypatch.setitem(sys.modules, "bnn_tasks.runtime.program.timing", timing)
    monkeypatch.setattr(bnn_tasks.runtime.program, "timing", timing, raising=False)
    graph, tensors = tiny_detector()
    save(tmp_path / "net.safetensors", graph, tensors)
    return tmp_path / "net.safetensors"


def test_lines(artifact: Path) -> None:
    text = str(bench_layers(artifact, repeats=7))
    rows = [line.split() for line in text.splitlines()]
    assert ["stem", "float", "convolution", "40.0", "40.0", "0.050", "50.0"] in rows
    assert ["layer1", "binary", "convolution", "10.0", "10.0", "2.000", "50.0"] in rows
    assert ["pool", "pool", "20.0", "20.0", "-", "-"] in rows
    # 40 million operations in 40 µs of a peak of 4 T op/s
    assert ["2", "step(s)", "binary", "convolution", "40.0", "40.0", "1.000", "25.0"] in rows
    assert ["all", "100.0"] in rows


def test_json(artifact: Path) -> None:
    values = json.loads(json.dumps(bench_layers(artifact, repeats=7).to_dict()))
    assert [step["name"] for step in values["steps"]] == ["stem", "layer1", "layer2", "pool"]
    assert values["kinds"]["binary convolution"]["seconds"] == pytest.approx(40e-6)
    assert values["kinds"]["binary convolution"]["peak"] == pytest.approx(0.25)
    assert values["popcount_peak"] == 4e12


def test_two_threads_have_twice_the_peak(artifact: Path) -> None:
    report = bench_layers(artifact, threads=2, repeats=7)
    assert [step.peak for step in report.steps] == pytest.approx([0.25, 0.25, 1 / 12, 0.0])
    assert "0.100 on floats; shares are of 2 times that" in str(report)


def test_without_compiled_kernels_it_says_so(tmp_path: Path) -> None:
    save(tmp_path / "net.safetensors", *tiny_detector())
    arguments = ["bench", "--layers", str(tmp_path / "net.safetensors"), "--repeats", "1"]
    code = f"from bnn_tasks.cli import main; main({arguments!r})"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith("Expected compiled kernels, but NUMBA_DISABLE_JIT is set.")


@needs_kernels
def test_real_timings_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timing module as it is, but for the peaks."""
    from bnn_tasks.runtime.program import timing

    monkeypatch.setattr(timing, "popcount_peak", lambda: 1e12)
    monkeypatch.setattr(timing, "fma_peak", lambda: 1e11)
    save(tmp_path / "net.safetensors", *tiny_detector())
    report = bench_layers(tmp_path / "net.safetensors", repeats=3)
    values = report.to_dict()
    assert sum(kind["seconds"] for kind in values["kinds"].values()) == pytest.approx(
        sum(s.seconds for s in report.steps)
    )
    for kind in values["kinds"].values():
        own = [step for step in report.steps if step.kind == kind["kind"]]
        assert kind["binary_ops"] == sum(step.binary_ops for step in own)
        assert kind["float_ops"] == sum(step.float_ops for step in own)
    (binary,) = (step for step in report.steps if step.binary_ops)
    assert binary.binary_ops == 2 * 8 * 8 * 9 * 8 * 12  # taps in the padding included
    assert binary.peak == pytest.approx(binary.binary_ops / binary.seconds / 1e12)
