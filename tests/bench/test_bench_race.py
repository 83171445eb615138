"""The race: a process a contender, one that crashes is a line, the others go on; the table and the JSON."""

import json
import math
import sys
from pathlib import Path

import pytest

from bnn_tasks.bench import contenders, process
from bnn_tasks.bench.contenders import ENTRIES, OURS, selected
from bnn_tasks.bench.material import Net
from bnn_tasks.bench.process import ContenderError, Process
from bnn_tasks.bench.race import Result, race
from bnn_tasks.bench.report import NetFacts, Report, Total

FAKE = (sys.executable, str(Path(__file__).parent / "fake_worker.py"))


def net(folder: Path, name: str = "net") -> Net:
    return Net(name, "a.safetensors", "a.safetensors", str(folder), (8, 8), False)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    monkeypatch.setattr(process, "COMMAND", FAKE)
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    free = {name: (entry if name == "torch-fp32" else with_packages(entry)) for name, entry in ENTRIES.items()}
    monkeypatch.setattr(contenders, "ENTRIES", free)
    found = race([net(tmp_path)], list(ENTRIES), 1, 4, tmp_path, failures={"twin_qdq.onnx": "ValueError: no"})
    return {result.contender: result for result in found}


def with_packages(entry: contenders.Entry) -> contenders.Entry:
    return contenders.Entry(entry.family, entry.opener, ("numpy",), entry.alternatives)


def test_who_runs_and_who_does_not(results: dict[str, Result]) -> None:
    ours = results[OURS]
    assert ours.turns == [0.001] * 4
    assert ours.ratio == 1.0
    assert (ours.resident, ours.peak, ours.open_seconds, ours.first_seconds) == (2**20, 3 * 2**20, 0.5, 0.25)
    fast = results["openvino-int8"]  # one of its files failed, another is there
    assert fast.ratio == pytest.approx(5.0)
    assert (fast.least, fast.about, fast.agreement["correlation"]) == (0.005, {"runs": "fast"}, 1.0)
    reasons = {name: result.error for name, result in results.items() if result.error is not None}
    assert set(reasons) == {"torch-fp32", "onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-bf16"}
    assert "pip install 'bnn-tasks[bench]'" in reasons["torch-fp32"]
    assert "SIGSEGV" in reasons["onnxruntime-fp32"]
    assert reasons["onnxruntime-int8"] == "ValueError: no"
    assert reasons["openvino-fp32"] == "its process ended with status 3: ImportError: no such library"
    assert reasons["openvino-bf16"] == "this processor has no bf16"


def test_table_and_json(results: dict[str, Result]) -> None:
    facts = NetFacts("net", (8, 8), False, 1000, 16000, 100, 3200)
    total = Total("1 net", OURS, 0.001, 1.0, "peak", 0.0, 0.0)
    report = Report.of([facts], list(results.values()), 1, 4, [total])
    text = str(report)
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "1.000" in lines[OURS]
    assert "5.00" in next(line for line in text.splitlines() if line.startswith("  openvino-int8 "))
    assert "no figure" in lines["torch-fp32"]
    for part in ("8×8, tensor to raw outputs", "1/16.0", "1/32.0", str(total), "openvino-int8: runs fast", report.cpu):
        assert part in text
    values = json.loads(json.dumps(report.to_dict()))
    assert set(values) == {"cpu", "versions", "threads", "rounds", "nets", "totals"}
    assert values["versions"]["numpy"]
    rows = {row["contender"]: row for row in values["nets"][0]["contenders"]}
    assert rows[OURS]["seconds"] == 0.001
    assert rows["openvino-int8"]["ratio"] == pytest.approx(5.0)
    assert rows["openvino-bf16"] == {"contender": "openvino-bf16", "error": "this processor has no bf16"}
    assert not any(isinstance(value, float) and math.isinf(value) for row in rows.values() for value in row.values())


def test_quartiles() -> None:
    assert Result("a", "net", turns=[1.0]).quartiles == (1.0, 1.0)
    assert Result("a", "net", turns=[1.0, 2.0, 3.0, 4.0, 5.0]).quartiles == (2.0, 4.0)


def test_a_share_is_of_the_limit_of_the_same_round() -> None:
    assert Result("a", "net", turns=[1.0, 2.0, 1.0], limits=[100.0, 50.0, 200.0]).share(80) == 0.8
    assert Result("a", "net", turns=[1.0, 2.0, 1.0]).share(80) == 0.0


def test_a_process_that_speaks_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-c", "print('half a line', end='')"))
    with pytest.raises(ContenderError, match="status 0"):
        Process(OURS, [net(tmp_path)], [[{}]], 1, 0, tmp_path)


def test_selecting_peers() -> None:
    assert selected(["none"]) == []
    assert selected(["openvino", "torch"]) == ["torch-fp32", "openvino-fp32", "openvino-bf16", "openvino-int8"]
    assert selected(["openvino-int8"]) == ["openvino-int8"]
    with pytest.raises(ValueError, match=r"torch, onnxruntime, openvino, or one of torch-fp32, .* but got 'tvm'"):
        selected(["torch", "tvm"])
