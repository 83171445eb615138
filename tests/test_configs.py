"""Every config of the project parses and fits a batch, on a tiny generated set of its own format."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from configs_for_tests import shrink

from bnn_tasks.cli import main
from bnn_tasks.data import VOCDetectionData
from bnn_tasks.data.coco import ANNOTATIONS, IMAGES
from bnn_tasks.data.synthetic import generate

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
SIZE = [64, 64]


def voc(root: Path, arguments: dict[str, Any]) -> None:
    """VOC's layout, with the split lists and the classes that the config names."""
    generate(root, 10, (48, 64))
    for split, name in arguments.get("splits", {}).items():
        lists = root / "ImageSets" / "Main"
        if not (lists / f"{name}.txt").exists():
            shutil.copy(lists / f"{split}.txt", lists / f"{name}.txt")
    names = dict(zip(("circle", "square", "triangle"), arguments.get("classes", ())))
    for path in (root / "Annotations").iterdir():
        text = path.read_text()
        for shape, name in names.items():
            text = text.replace(f"<name>{shape}</name>", f"<name>{name}</name>")
        path.write_text(text)


def coco(root: Path, arguments: dict[str, Any]) -> None:
    """COCO's layout, with the files that the config names."""
    source = root.with_name("source")
    voc(source, {})
    content = VOCDetectionData(source, [(64, 64)])
    for split, name in arguments.get("annotations", ANNOTATIONS).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content.ground_truth(split)))
        shutil.copytree(source / "JPEGImages", root / arguments.get("images", IMAGES)[split], dirs_exist_ok=True)


def nothing(root: Path, arguments: dict[str, Any]) -> None:
    """The set makes itself."""
    arguments |= {"images": 10, "image_size": [48, 64]}


WRITERS = {"VOCDetectionData": voc, "CocoDetectionData": coco, "SyntheticDetectionData": nothing}


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_fits_a_batch(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load(path.read_text())
    data = config["data"]
    arguments = data["init_args"]
    WRITERS[data["class_path"].split(".")[-1]](tmp_path / "set", arguments)
    arguments |= {"root": str(tmp_path / "set"), "sizes": [SIZE], "batch_size": 2, "num_workers": 0}
    shrink(config["model"])
    config["trainer"] |= {"fast_dev_run": 1, "accelerator": "cpu", "default_root_dir": str(tmp_path), "devices": 1}
    config["trainer"] |= {"enable_progress_bar": False, "enable_model_summary": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(tmp_path / "config.yaml")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_says_how_it_runs(path: Path) -> None:
    """`runs as it stands`: its header names the command with its own path."""
    text = path.read_text()
    relative = path.relative_to(Path(__file__).parents[1])
    assert f"bnn-tasks fit  --config {relative}" in text or f"bnn-tasks fit --config {relative}" in text
    config = yaml.safe_load(text)
    assert path.stem in config["trainer"]["default_root_dir"]
    assert not Path(config["data"]["init_args"]["root"]).is_absolute()
