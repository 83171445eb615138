"""The ablation: configs of its variants, the order of its runs, its table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bnn_tasks.compare import ablation
from bnn_tasks.compare.ablation import VARIANTS, ablate, config_of, table
from bnn_tasks.compare.training_run import Run

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
    config = config_of(base, VARIANTS[name], 3, tmp_path / "twin.ckpt")
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
    order: list[tuple[str, list[str]]] = []

    def train(run: Run, config: Any, overrides: Any, splits: Any) -> None:
        terms = config["model"]["init_args"].get("auxiliary", [])
        order.append(
            (run.folder.name, [Path(term["init_args"]["teacher"]["init_args"]["path"]).parts[-3] for term in terms])
        )
        (run.folder / "results.json").write_text(json.dumps(results(0.5)))
        (run.folder / "seconds.json").write_text("60")

    monkeypatch.setattr(ablation.Run, "train", train)
    text = ablate(CONFIG, tmp_path, ["local_distilled"], [0, 1])
    assert order == [
        ("real_0", []),
        ("real_1", []),
        ("local_distilled_0", ["real_0"]),
        ("local_distilled_1", ["real_1"]),
    ]
    assert "| local_distilled | 2 |" in text
    assert set(json.loads((tmp_path / "ablation.json").read_text())) == {"real", "local_distilled"}


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected variants of .*'local_distilled'.*but got"):
        ablate(CONFIG, tmp_path, ["lokal"], [0])


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
