"""The ablation: configs of its variants, the order of its runs, its table."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bnn_tasks.compare import ablation
from bnn_tasks.compare.ablation import VARIANTS, Run, ablate, config_of, table

CONFIG = Path(__file__).parents[1] / "configs" / "detection" / "bccd_retinanet_r18_binary.yaml"
PLACES = (("backbone", "block"), ("neck", "unit"), ("head", "unit"))


def classes_in(config: Any) -> list[str]:
    if isinstance(config, dict):
        own = [config["class_path"]] if "class_path" in config else []
        return own + [name for value in config.values() for name in classes_in(value)]
    return [name for value in config for name in classes_in(value)] if isinstance(config, list) else []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_replaces_blocks_and_units_alone(name: str, tmp_path: Path) -> None:
    base = yaml.safe_load(CONFIG.read_text())
    before = json.dumps(base)
    config = config_of(base, VARIANTS[name], 3, tmp_path, tmp_path / "twin.ckpt")
    assert json.dumps(base) == before
    assert config["seed_everything"] == 3
    model = config["model"]["init_args"]["model"]["init_args"]
    found = (
        model["backbone"]["init_args"]["block"]["class_path"],
        model["neck"]["init_args"]["unit"]["class_path"],
        model["head"]["init_args"]["unit"]["class_path"],
    )
    variant = VARIANTS[name]
    given = [model[part]["init_args"][key]["init_args"] for part, key in PLACES]
    assert given == [{} if name.startswith("Real") else {"method": "react"} for name in found]
    assert found == (f"{variant.backbone}Block", f"{variant.neck}Unit", f"{variant.head}Unit")
    assert ("Distillation" in classes_in(config)) == bool(variant.teacher)
    assert config["data"] == base["data"]


def results(ap: float, split: str = "test") -> dict[str, Any]:
    metrics = {f"{split}/{name}": ap for name in ("ap", "ap50", "ap_small", "ap/cat", "ap/dog", "ap50/cat")}
    return {split: {"metrics": metrics}, "seconds": 90.0}


def test_the_table_has_means_and_deviations() -> None:
    values = [0.5, 0.6, 0.75]
    lines = table({"real": [results(v) for v in values], "plain": [results(0.25)]}, "test").splitlines()
    assert lines[0] == "| variant | runs | AP | AP50 | AP_small | AP cat | AP dog | minutes a run |"
    cell = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
    assert lines[2] == f"| real | 3 | {' | '.join([cell] * 5)} | 1.5 |"
    assert lines[3] == f"| plain | 1 | {' | '.join(['0.2500'] * 5)} | 1.5 |"


def test_teachers_come_before_their_students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int, str]] = []

    def train(run: Run, base: Any, teacher: Path, overrides: Any, splits: Any) -> None:
        order.append((run.name, run.seed, teacher.parts[-3]))
        (run.folder / "results.json").write_text(json.dumps(results(0.5)))
        (run.folder / "seconds.json").write_text("60")

    monkeypatch.setattr(ablation.Run, "train", train)
    text = ablate(CONFIG, tmp_path, ["local_distilled"], [0, 1])
    assert [name for name, _, _ in order] == ["real", "real", "local_distilled", "local_distilled"]
    assert [teacher for name, _, teacher in order if name == "local_distilled"] == ["real_0", "real_1"]
    assert "| local_distilled | 2 |" in text
    assert set(json.loads((tmp_path / "ablation.json").read_text())) == {"real", "local_distilled"}


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected variants of .*'local_distilled'.*but got"):
        ablate(CONFIG, tmp_path, ["lokal"], [0])


def test_a_training_that_outlives_a_killed_ablation_keeps_its_folder(tmp_path: Path) -> None:
    run, base = Run("plain", 0, tmp_path / "plain_0"), yaml.safe_load(CONFIG.read_text())
    run.folder.mkdir()
    (run.folder / "seconds.json").write_text("1")
    with (run.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    with pytest.raises(RuntimeError, match=r"plain_0 to be no other process's.*Cure"):
        run.train(base, run.checkpoint, (), ())
    orphan.communicate(b"\n")
    run.train(base, run.checkpoint, (), ())


def test_commands_hold_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Python says which of its open files is the lock."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nls -l /dev/fd/\n")
    script.chmod(0o755)
    monkeypatch.setattr(ablation.sys, "executable", str(script))
    run = Run("plain", 0, tmp_path / "plain_0")
    run.train(yaml.safe_load(CONFIG.read_text()), run.checkpoint, (), ())
    assert str(run.folder / "lock") in (run.folder / "fit.log").read_text()


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(run: Run, *_: Any) -> None:
        (run.folder / "results.json").write_text(json.dumps(results(0.5)))
        (run.folder / "seconds.json").write_text("60")

    monkeypatch.setattr(ablation.Run, "train", train)
    first = ablate(CONFIG, tmp_path / "out", ["plain"], [0], overrides=["--trainer.max_epochs=2"])
    assert ablate(CONFIG, tmp_path / "out", ["plain"], [0], overrides=["--trainer.max_epochs=2"]) == first
    told = r"plain_0 .*overrides.0 --trainer.max_epochs=3 \(not --trainer.max_epochs=2\). Cure: another folder"
    with pytest.raises(ValueError, match=told):
        ablate(CONFIG, tmp_path / "out", ["plain"], [0], overrides=["--trainer.max_epochs=3"])
    other = yaml.safe_load(CONFIG.read_text())
    other["data"]["init_args"]["batch_size"] = 77
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(ValueError, match=r"data.init_args.batch_size 77 \(not \d+\)"):
        ablate(tmp_path / "other.yaml", tmp_path / "out", ["plain"], [0], overrides=["--trainer.max_epochs=2"])


def test_the_time_of_every_attempt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three attempts: killed 50 s after its checkpoint of second 100, killed before any, and one that ends."""
    run, base, now = Run("plain", 0, tmp_path / "plain_0"), yaml.safe_load(CONFIG.read_text()), 1000.0
    monkeypatch.setattr(ablation.time, "time", lambda: now)

    def attempt(seconds: float, saved: float | None, killed: bool) -> None:
        def call(self: Run, words: list[str], lock: int) -> None:
            nonlocal now
            if saved is not None:
                run.checkpoint.parent.mkdir(exist_ok=True)
                run.checkpoint.touch()
                os.utime(run.checkpoint, (now + saved, now + saved))
            now += seconds
            if killed:
                raise KeyboardInterrupt

        monkeypatch.setattr(ablation.Run, "_call", call)
        run.train(base, run.checkpoint, (), ())

    for seconds, saved in ((150.0, 100.0), (30.0, None)):
        with pytest.raises(KeyboardInterrupt):
            attempt(seconds, saved, True)
        now += 500  # nothing runs
    attempt(200.0, 200.0, False)
    assert json.loads((run.folder / "seconds.json").read_text()) == 300
