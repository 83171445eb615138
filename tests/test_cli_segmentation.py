"""A segmenter from the command line: what fit writes serves validate, a resumed fit and export, stages in a list too."""

import json
from pathlib import Path

import pytest
import yaml

from bnn_tasks.cli import main

ROOT = Path(__file__).parents[1]


def narrow(value: object) -> None:
    """Make a net of the configs narrow."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "width":
                value[key] = 4
            elif key == "channels":
                value[key] = 8 if isinstance(inner, int) else [8] * len(inner)
            narrow(inner)


@pytest.mark.parametrize("name", ["camvid_bpac_r18_binary", "camvid_deeplabv3plus_r18_binary"])
def test_a_checkpoint_serves_every_verb(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((ROOT / "configs" / "segmentation" / f"{name}.yaml").read_text())
    narrow(config["model"])
    config["data"] = {
        "class_path": "SyntheticSegmentationData",
        "init_args": {
            "root": str(tmp_path / "set"),
            "scenes": 10,
            "image_size": [48, 64],
            "sizes": [[64, 64]],
            "batch_size": 3,
        },
    }
    quiet = {"accelerator": "cpu", "precision": "32-true", "logger": False, "enable_progress_bar": False}
    config["trainer"] |= quiet | {"max_epochs": 1, "default_root_dir": str(tmp_path), "check_val_every_n_epoch": 1}
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(path)])
    fitted = json.loads((tmp_path / "results.json").read_text())["val"]["metrics"]
    main(["validate", "--config", str(path), "--ckpt_path", "last"])
    again = json.loads((tmp_path / "results.json").read_text())["val"]["metrics"]
    assert again["val/miou"] == pytest.approx(fitted["val/miou"], abs=1e-6)
    main(["fit", "--config", str(path), "--ckpt_path", "last", "--trainer.max_epochs", "2"])
    main(["export", str(tmp_path / "checkpoints" / "last.ckpt"), "--out", str(tmp_path / "net.safetensors")])
    assert "0 differ" in capsys.readouterr().out
