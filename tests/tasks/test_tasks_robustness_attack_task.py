"""Attacks on a detector and a segmenter from the command line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config, tiny_config, tiny_segmentation_config

from bnn_tasks.cli import main
from bnn_tasks.robustness.attacks import EOT, FGSM, PGD, HopSkipJump, Raising
from bnn_tasks.robustness.objective import MarginObjective
from bnn_tasks.robustness.segmentation_losses import SegPGDLoss
from bnn_tasks.tasks import AttackTask, GoalAttack, PixelAttack
from bnn_tasks.tasks.checkpoint import load_task
from bnn_tasks.tasks.robustness import Vanishing
from bnn_tasks.tasks.robustness.attack_task import attacked
from bnn_tasks.tasks.robustness.performance import figures, judge
from bnn_tasks.training import TrainingCLI


def pgd(steps: int) -> dict[str, Any]:
    return {"class_path": "PGD", "init_args": {"steps": steps}}


GOAL = {"class_path": "Vanishing"}
LOSS = {"class_path": "SegPGDLoss"}
CASES = {
    "ap": (lambda f: tiny_config(f, 1), {"class_path": "GoalAttack", "init_args": {"attack": pgd(2), "goal": GOAL}}),
    "miou": (tiny_segmentation_config, {"class_path": "PixelAttack", "init_args": {"attack": pgd(2), "loss": LOSS}}),
}


def nullable(figures: dict[str, float]) -> dict[str, Any]:
    return {name: None if math.isnan(value) else pytest.approx(value, abs=1e-6) for name, value in figures.items()}


def trained(config: dict[str, Any], folder: Path) -> str:
    config["trainer"]["callbacks"] = [{"class_path": "LastCheckpoint"}]
    (folder / "given.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "given.yaml")])
    return str(folder / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("figure", CASES)
def test_one_table_for_detectors_and_segmenters(
    figure: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, attack = CASES[figure]
    config = build(tmp_path)
    path = trained(config, tmp_path)
    arguments = {"checkpoint": path, "attacks": [pgd(1), attack], "eps": [1, 8], "batches": 1}
    config["model"] = {"class_path": "AttackTask", "init_args": arguments}
    config["trainer"] |= {"callbacks": [{"class_path": "AttackReport"}], "inference_mode": False}
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["test", "--config", str(tmp_path / "given.yaml")])
    written = json.loads((tmp_path / "robustness" / "attacks.json").read_text())
    assert next(iter(written["clean"])) == figure
    worst = [row for row in written["rows"] if row["attack"] == "worst case"]
    rows = [row for row in written["rows"] if row["attack"] != "worst case"]
    assert [row["eps_255"] for row in rows] == pytest.approx([1, 1, 1, 8, 8, 8])
    assert [row["eps_255"] for row in worst] == ([] if figure == "ap" else pytest.approx([1, 8]))
    for row in worst:
        others = [one["figures"]["image_miou"] for one in rows if one["eps_255"] == row["eps_255"]]
        assert row["figures"]["image_miou"] <= min(others)
    assert written["rows"][0]["attack"] == "noise"
    task = load_task(path)
    cli = TrainingCLI(["--config", str(tmp_path / "given.yaml")], run=False)
    cli.datamodule.setup("test")
    batches = [next(iter(cli.datamodule.test_dataloader()))]
    assert written["clean"] == nullable(figures(task, judge(task, batches)))
    last = attacked(task, batches, cli.model.attacks[-1], 8 / 255, torch.Generator().manual_seed(0))
    assert rows[-1]["figures"] == nullable(figures(task, judge(task, last)))
    assert "clean" in capsys.readouterr().out
    assert (tmp_path / "robustness" / "attacks.png").exists()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_is_of_the_attacks_norm(norm: str, tmp_path: Path) -> None:
    path = trained(tiny_segmentation_config(tmp_path), tmp_path)
    classes = load_task(path).classes
    task = AttackTask(path, classes, [PixelAttack(PGD(1, norm=norm), SegPGDLoss())], (1.0,))
    assert [attack.norm.name for attack in task.attacks] == [norm, norm]
    with pytest.raises(ValueError, match="one norm"):
        AttackTask(path, classes, [PGD(1), FGSM("l2")], (1.0,))
    with pytest.raises(TypeError, match="takes DetectionObjective alone"):
        AttackTask(path, classes, [GoalAttack(PGD(1, norm=norm), Vanishing())])
    with pytest.raises(ValueError, match="asks alone what is lost"):
        PixelAttack(HopSkipJump(2, norm=norm), SegPGDLoss())


def test_attacks_that_do_not_suit_a_detector(tmp_path: Path) -> None:
    path = trained(tiny_config(tmp_path, 1), tmp_path)
    classes = load_task(path).classes
    for attack in (PixelAttack(PGD(1), SegPGDLoss()), Raising(PGD(1), MarginObjective)):
        with pytest.raises(TypeError, match=r"or of DetectionObjective, but .* alone"):
            AttackTask(path, classes, [attack])
    for hidden in (HopSkipJump(2, norm="linf"), EOT(HopSkipJump(2, norm="linf"))):
        with pytest.raises(ValueError, match="asks alone what is lost"):
            AttackTask(path, classes, [hidden])
    AttackTask(path, classes, [GoalAttack(PGD(1), Vanishing())])


def test_bad_input(tmp_path: Path) -> None:
    path = trained(tiny_classification_config(tmp_path, 1), tmp_path)
    with pytest.raises(TypeError, match="RobustnessTask attacks classifiers"):
        AttackTask(path, ["circle", "square", "triangle"])
    with pytest.raises(ValueError, match="eps"):
        AttackTask(path, ["a"], eps=(2.0, 1.0))
    with pytest.raises(ValueError, match="units of 1/255"):
        AttackTask(path, ["a"], eps=(8 / 255,))
    with pytest.raises(ValueError, match=r"from 0\.05 to 255, but got 300"):
        AttackTask(path, ["a"], eps=(1.0, 300.0))
    with pytest.raises(ValueError, match="batches"):
        AttackTask(path, ["a"], batches=0)
