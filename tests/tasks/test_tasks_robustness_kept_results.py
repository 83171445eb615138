"""A test that was cut short: what it goes on from, and that its results are those of one that was not."""

import functools
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config, tiny_config, tiny_segmentation_config
from torch import nn

from bnn_tasks.binary import spread_tanh
from bnn_tasks.cli import main
from bnn_tasks.robustness.attacks import PGD, Attack, SurrogateSweep, Transfer
from bnn_tasks.tasks.robustness import attack_task
from bnn_tasks.tasks.robustness.chunks import Chunks
from bnn_tasks.tasks.robustness.fingerprint import fingerprint
from bnn_tasks.tasks.robustness.kept_results import KeptResults


class Cut(BaseException):
    """What ends a process: nothing catches it."""


def counted(function: Callable[..., Any], calls: list[str], until: int) -> Callable[..., Any]:
    """`function`, which writes down the name of every attack that it finishes, and is cut in the one behind `until`."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if len(calls) == until:
            raise Cut
        found = function(*args, **kwargs)
        calls.append(next(one for one in args if isinstance(one, Attack)).name)
        return found

    return run


def trained(config: dict[str, Any], folder: Path) -> str:
    config["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "train.yaml")])
    return str(folder / "checkpoints" / "last.ckpt")


def run_test(config: dict[str, Any], task: dict[str, Any], report: str, folder: Path) -> None:
    trainer = {"callbacks": [{"class_path": report}], "inference_mode": False, "default_root_dir": str(folder)}
    content = config | {"model": task, "trainer": config["trainer"] | trainer}
    folder.mkdir(exist_ok=True)
    (folder / "given.yaml").write_text(yaml.safe_dump(content))
    main(["test", "--config", str(folder / "given.yaml")])


def study_task(path: str, eps: float = 4) -> dict[str, Any]:
    arsenal = {"class_path": "Arsenal", "init_args": {"steps": 3, "queries": 10}}
    settings = {
        "arsenal": arsenal,
        "eps": eps,
        "ladder": [0, 1, 128],
        "sweep": [1, 2],
        "step_counts": [1, 2],
        "chunk": 4,
    }
    victim = {"class_path": "CheckpointVictim", "init_args": {"path": path}}
    study = {"class_path": "ClassifierStudy", "init_args": settings}
    return {"class_path": "RobustnessTask", "init_args": {"victim": victim, "others": [victim], "study": study}}


def test_a_study_goes_on_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_classification_config(tmp_path, 1)
    task = study_task(trained(config, tmp_path))
    attack, whole, first, rest = Chunks.attack, [], [], []

    monkeypatch.setattr(Chunks, "attack", counted(attack, whole, 1000))
    run_test(config, task, "RobustnessReport", tmp_path / "whole")
    monkeypatch.setattr(Chunks, "attack", counted(attack, first, 5))
    with pytest.raises(Cut):
        run_test(config, task, "RobustnessReport", tmp_path / "cut")
    assert len(list((tmp_path / "cut").rglob("*.pt"))) == 5
    monkeypatch.setattr(Chunks, "attack", counted(attack, rest, 1000))
    with caplog.at_level(logging.INFO, logger="bnn_tasks"):
        run_test(config, task, "RobustnessReport", tmp_path / "cut")

    assert first + rest == whole
    assert caplog.text.count("taken over from") == 5
    written = [json.loads((tmp_path / name / "robustness" / "results.json").read_text()) for name in ("whole", "cut")]
    assert written[0] == written[1]
    assert not list((tmp_path / "cut" / "robustness").glob("unfinished-*"))


def test_other_settings_start_anew_and_leave_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_classification_config(tmp_path, 1)
    path = trained(config, tmp_path)
    attack, calls = Chunks.attack, []
    for eps in (4, 8):
        monkeypatch.setattr(Chunks, "attack", counted(attack, calls, len(calls) + 2))
        with pytest.raises(Cut):
            run_test(config, study_task(path, eps), "RobustnessReport", tmp_path / "cut")
    assert len(calls) == 4
    assert len(list((tmp_path / "cut" / "robustness").glob("unfinished-*"))) == 2
    assert "is of other settings: this test starts anew" in caplog.text
    assert "taken over" not in caplog.text


CASES = {
    "detection": (lambda folder: tiny_config(folder, 1), [{"class_path": "PGD", "init_args": {"steps": 1}}]),
    "segmentation": (tiny_segmentation_config, [{"class_path": "PGD", "init_args": {"steps": 1}}]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_table_goes_on_where_it_was_cut(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, attacks = CASES[case]
    config = build(tmp_path)
    arguments = {"checkpoint": trained(config, tmp_path), "attacks": attacks, "eps": [1, 8], "batches": 1}
    task = {"class_path": "AttackTask", "init_args": arguments}
    attacked, whole, first, rest = attack_task.attacked, [], [], []
    for name, calls, until in (("whole", whole, 1000), ("cut", first, 3), ("cut", rest, 1000)):
        monkeypatch.setattr(attack_task, "attacked", counted(attacked, calls, until))
        if until == 3:
            with pytest.raises(Cut):
                run_test(config, task, "AttackReport", tmp_path / name)
        else:
            run_test(config, task, "AttackReport", tmp_path / name)
    assert [len(calls) for calls in (whole, first, rest)] == [4, 3, 1]
    written = [(tmp_path / name / "robustness" / "attacks.json").read_text() for name in ("whole", "cut")]
    assert written[0] == written[1]


def test_results_are_as_they_were_made(tmp_path: Path) -> None:
    made = {"images": torch.rand(2, 3), "trace": [0.1, math.inf], "members": {"own": torch.tensor([True])}}
    KeptResults(tmp_path, "a" * 64).get("PGD", lambda: made)
    again = KeptResults(tmp_path, "a" * 64).get("PGD", lambda: pytest.fail("made anew"))
    assert torch.equal(again["images"], made["images"])
    assert again["trace"] == made["trace"]
    assert torch.equal(again["members"]["own"], made["members"]["own"])
    assert KeptResults(None).get("PGD", lambda: 3) == 3


@pytest.mark.parametrize("name", ["PGD", "FGSM"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    KeptResults(tmp_path, "a").get("PGD", lambda: 1)
    (file,) = tmp_path.rglob("*.pt")
    if name == "PGD":
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"0001\.pt.*Cure: delete"):
        KeptResults(tmp_path, "a").get(name, lambda: 2)


def test_fingerprints_tell_what_makes_a_difference(tmp_path: Path) -> None:
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    (tmp_path / "a").write_text("a")
    values: list[Any] = [
        PGD(3),
        PGD(4),
        PGD(3, norm="l2"),
        SurrogateSweep(PGD(3), {"a": spread_tanh(1)}),
        SurrogateSweep(PGD(3), {"a": spread_tanh(3)}),
        Transfer(PGD(3), [net.eval()], "net"),
        Transfer(PGD(3), [other.eval()], "net"),
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2, dtype=torch.float64),
        ["ab", "c"],
        ["a", "bc"],
        [["a"], "b"],
        [["a", "b"]],
        tmp_path / "a",
    ]
    found = [fingerprint(value) for value in values]
    assert len(set(found)) == len(values)
    assert found[:3] == [fingerprint(PGD(3)), fingerprint(PGD(4)), fingerprint(PGD(3, norm="l2"))]
    assert fingerprint(iter(["a", "b"])) == fingerprint(iter(["a", "b"])) != fingerprint(iter(["a"]))
    (tmp_path / "a").write_text("b")
    assert fingerprint(tmp_path / "a") != found[-1]
