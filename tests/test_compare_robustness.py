"""Reports side by side: the numbers are the reports', and reports of other attacks are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from bnn_tasks.compare.robustness import robustness_table


def point(value: float, eps: float) -> dict[str, float]:
    return {"eps_255": eps, "value": value, "low": value - 0.05, "high": value + 0.05}


def report(name: str, **changes: Any) -> dict[str, Any]:
    threat = {
        "norm": "linf",
        "eps": 2 / 255,
        "images": 256,
        "seed": 0,
        "steps": 20,
        "step_size": 0.25,
        "queries": 500,
        "others": [],
    }
    content = {
        "victim": f"runs/{name}/checkpoints/last.ckpt",
        "threat": threat,
        "clean": {"value": 0.9, "low": 0.86, "high": 0.93},
        "attacks": [{"attack": one} for one in ("noise", "FGSM", "PGD-20x8", "transfer from other")],
        "convergence": [{"steps": 10, "accuracy": 0.5}, {"steps": 20, "accuracy": 0.4}],
        "facts": {"iterated": 0.55, "surrogates": None},
        "ladder": [point(0.9, 0), point(0.6, 1), point(0.125, 8)],
        "surrogates": [],
        "sensitivity": None,
        "verdict": {"label": "trustworthy"},
    }
    return content | changes


def write(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_a_row_a_net_and_a_row_a_sweep(tmp_path: Path) -> None:
    real = write(tmp_path / "a", report("real"))
    swept = [{"eps_255": 1, "own": 0.7, "identity": 0.5, "all": 0.45}]
    facts = {"iterated": 0.52, "surrogates": 0.47}
    attacks = [{"attack": one} for one in ("noise", "FGSM", "PGD-20x8", "PGD-20 surrogate sweep", "transfer from real")]
    changes = {"surrogates": swept, "facts": facts, "attacks": attacks, "victim": "out/react.safetensors"}
    binary = write(tmp_path / "b", report("binary", **changes))
    lines = robustness_table([real, binary / "results.json"]).splitlines()
    assert lines[0] == "| worst case at ε·255 = | clean | 1 | 8 | verdict |"
    assert lines[2] == "| real | 90.0% (86–93) | 60.0% (55–65) | 12.5% (8–18) | trustworthy |"
    assert lines[3].startswith("| react | 90.0%")
    assert lines[7] == "| react | 70.0% → 45.0% |"
    assert lines[9] == "| equally many starts, ε·255 = 2 | PGD, own gradient | all surrogates |"
    assert lines[-1] == "| react | 52.0% | 47.0% |"
    assert len(robustness_table([real]).splitlines()) == 3


def test_noise_is_shown_at_five_depths(tmp_path: Path) -> None:
    layers = [{"name": str(k), "adversarial": k / 10, "random": k / 100} for k in range(9)]
    net = write(tmp_path / "a", report("net", sensitivity={"amplification": layers, "flips": []}))
    lines = robustness_table([net]).splitlines()
    assert lines[-3] == "| D_l, attack (noise), at depth | 0% | 25% | 50% | 75% | 100% |"
    assert lines[-1].startswith(
        "| net | 0.000 (0.000) | 0.200 (0.020) | 0.400 (0.040) | 0.600 (0.060) | 0.800 (0.080) |"
    )


def test_reports_of_another_sweep_are_refused(tmp_path: Path) -> None:
    one, other = ([{"eps_255": eps, "own": 0.7, "all": 0.45}] for eps in (1, 4))
    with pytest.raises(ValueError, match=r"'sweep': \[4\]"):
        robustness_table(
            [write(tmp_path / "a", report("a", surrogates=one)), write(tmp_path / "b", report("b", surrogates=other))]
        )


def test_reports_of_other_attacks_are_refused(tmp_path: Path) -> None:
    one, other = report("one"), report("other")
    other["threat"] = one["threat"] | {"steps": 100}
    with pytest.raises(ValueError, match="'steps': 100"):
        robustness_table([write(tmp_path / "a", one), write(tmp_path / "b", other)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": [{"attack": "noise"}, {"attack": "transfer from a"}]}, r"{'attacks': \['noise'\]}, and"),
        ({"attacks": [{"attack": one} for one in ("noise", "FGSM", "PGD-20x8")]}, "{'transfer': False}, and"),
        ({"convergence": [{"steps": 10, "accuracy": 0.5}]}, r"{'convergence': \[10\]}, and"),
    ],
)
def test_fewer_attacks_are_other_attacks(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        robustness_table([write(tmp_path / "a", report("a")), write(tmp_path / "b", report("b", **changes))])


@pytest.mark.parametrize("content", ["", "[]", "{}", "\udc80"])
def test_what_is_no_report_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"results\.json"):
        robustness_table([tmp_path])
    with pytest.raises(ValueError, match="nowhere"):
        robustness_table([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="at least one"):
        robustness_table([])
