"""The command with a classifier: every verb on one tiny run, a picture folder instead of the generated set, and compare."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config, tiny_config
from PIL import Image

from bnn_tasks.cli import main
from bnn_tasks.compare import compare
from bnn_tasks.runtime import Session
from bnn_tasks.training import TrainingCLI

SHAPES = ["circle", "square", "triangle"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with given.yaml, a finished fit, which saved config.yaml, and its artifact."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "given.yaml").write_text(yaml.safe_dump(tiny_classification_config(folder)))
    main(["fit", "--config", str(folder / "given.yaml")])
    main(["export", str(folder / "checkpoints" / "last.ckpt"), "--out", str(folder / "net.safetensors")])
    return folder


def last(run: Path) -> str:
    return str(run / "checkpoints" / "last.ckpt")


def test_fit_leaves_what_it_promises(run: Path) -> None:
    assert json.loads((run / "results.json").read_text())["val"]["step"] == 10
    for name in ("samples_val.png", "val/predictions.json", "val/confusion_matrix.json", "val/confusion_matrix.png"):
        assert (run / name).is_file(), name
    for name in ("telemetry.csv", "telemetry.png", "config.yaml"):
        assert (run / name).is_file(), name
    checkpoint = torch.load(last(run), weights_only=True)
    assert checkpoint["bnn_tasks"] == {"classes": SHAPES, "resize": {"sizes": [[32, 32]], "rule": "letterbox"}}


@pytest.mark.parametrize(("verb", "stage"), [("validate", "val"), ("test", "test")])
def test_evaluating_a_checkpoint(verb: str, stage: str, run: Path, tmp_path: Path) -> None:
    config = str(run / "given.yaml")
    main([verb, "--config", config, "--ckpt_path", last(run), "--trainer.default_root_dir", str(tmp_path)])
    metrics = json.loads((tmp_path / "results.json").read_text())[stage]["metrics"]
    assert set(metrics) == {f"{stage}/{name}" for name in ("loss", "top1", *(f"accuracy/{name}" for name in SHAPES))}
    if stage == "val":  # the last epoch of fit validated the same weights
        fitted = json.loads((run / "results.json").read_text())["val"]["metrics"]
        assert metrics == pytest.approx(fitted, abs=1e-6)


def test_the_checkpoint_last_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    command = ["--config", str(run / "given.yaml"), "--ckpt_path", "last", "--trainer.default_root_dir", str(tmp_path)]
    main(["validate", *command])
    fitted = json.loads((run / "results.json").read_text())["val"]["metrics"]
    assert json.loads((tmp_path / "results.json").read_text())["val"]["metrics"] == pytest.approx(fitted, abs=1e-6)
    main(["fit", *command, "--trainer.max_epochs", "3"])
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 15


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_a_rehearsal_leaves_a_finished_run_as_it_is(verb: str, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    checkpoint = [] if verb == "fit" else ["--ckpt_path", last(run)]
    main([verb, "--config", str(run / "given.yaml"), *checkpoint, "--trainer.fast_dev_run", "true"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("word", ["last", "best", "hpc", "registry", "nowhere.ckpt"])
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_checkpoint_that_is_not_there(
    verb: str, word: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [verb, "--config", str(run / "given.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    (line,) = refused([*command, "--ckpt_path", word], capsys)
    assert f"--ckpt_path {word} to be a checkpoint, but there is no file" in line
    assert "Cure: a .ckpt file" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"trainer: {}", None])
@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_a_checkpoint_that_is_none(
    verb: str, content: bytes | None, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(Path(last(run)).read_bytes()[:5000] if content is None else content)
    command = [verb, "--config", str(run / "given.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    (line,) = refused([*command, "--ckpt_path", str(path)], capsys)
    assert f"Expected {str(path)!r} to be a checkpoint" in line


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a command that ends with status 2 says on stderr, without Lightning's word on the seed."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Seed set")]


def test_a_refused_method_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = "--model.init_args.model.init_args.backbone.init_args.block.init_args.method"
    (line,) = refused(["fit", "--config", str(run / "given.yaml"), method, "IRNet"], capsys)
    assert line.startswith("bnn-tasks fit: Expected `method` to be one of ['abc_net', ")
    assert line.endswith("but got 'IRNet'. Nearest: 'ir_net', 'group_net', 'react'.")


def test_predict(run: Path, tmp_path: Path) -> None:
    config = str(run / "given.yaml")
    main(["predict", "--config", config, "--ckpt_path", last(run), "--trainer.default_root_dir", str(tmp_path)])
    rows = json.loads((tmp_path / "predict" / "predictions.json").read_text())
    assert len(rows) == 6
    assert rows[0].keys() == {"file_name", "label", "predicted", "probability"}


def test_a_folder_of_the_users_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_classification_config(tmp_path, epochs=1)
    config["data"] = {
        "class_path": "ImageFolderData",
        "init_args": {"root": str(run / "set"), "size": [32, 32], "batch_size": 6, "num_workers": 0},
    }
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["check-data", "--config", str(tmp_path / "given.yaml")])
    assert "0 errors" in capsys.readouterr().out
    main(["fit", "--config", str(tmp_path / "given.yaml")])
    main(["export", last(tmp_path), "--out", str(tmp_path / "net.safetensors")])
    assert list(Session(tmp_path / "net.safetensors").classes) == SHAPES


def test_check_data_of_a_damaged_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_classification_config(tmp_path)
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["check-data", "--config", str(tmp_path / "given.yaml")])
    victim = sorted((tmp_path / "set" / "val" / "square").iterdir())[0]
    victim.write_bytes(b"no picture")
    with pytest.raises(SystemExit) as stop:
        main(["check-data", "--config", str(tmp_path / "given.yaml")])
    assert stop.value.code == 1
    assert victim.name in capsys.readouterr().out


def test_export_at_another_size(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", last(run), "--out", str(tmp_path / "net.safetensors"), "--size", "40", "48"])
    assert "checked on 2 image(s)" in capsys.readouterr().out
    assert Session(tmp_path / "net.safetensors").resize.sizes == ((40, 48),)


def test_run_gives_the_checkpoints_predictions(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", str(run / "net.safetensors"), str(run / "set" / "val"), "--out", str(tmp_path / "out")])
    assert "6 image(s), classified" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    trained = json.loads((run / "val" / "predictions.json").read_text())
    assert [row["file_name"] for row in found] == [row["file_name"].removeprefix("val/") for row in trained]
    agree = sum(f["category"] == t["predicted"] for f, t in zip(found, trained))
    assert agree >= 5, "a rounding tie may differ"
    assert len(list((tmp_path / "out").glob("*.png"))) == 6


def test_profile_of_all_three_kinds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (run / "given.yaml", Path(last(run)), run / "net.safetensors"):
        main(["profile", str(path)])
        assert "backbone.layer1.0.first.conv" in capsys.readouterr().out


def test_methods_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods"])
    out = capsys.readouterr().out
    for name in ("bnn", "xnor", "bireal", "react"):
        assert any(line.split()[:1] == [name] for line in out.splitlines()), name


def test_compare_says_what_differs(run: Path, tmp_path: Path) -> None:
    data = TrainingCLI(["--config", str(run / "given.yaml")], run=False).datamodule
    result = compare(last(run), run / "net.safetensors", data, split="val", sheet=tmp_path / "sheet.png")
    trained = json.loads((run / "results.json").read_text())["val"]["metrics"]["val/top1"]
    assert result.torch_metrics["top1"] == pytest.approx(trained)
    assert result.cost.images == 6
    assert result.agreed + result.traced == 6
    assert abs(result.runtime_metrics["top1"] - trained) <= result.traced / 6 + 1e-6
    assert result.cost.artifact_bytes == (run / "net.safetensors").stat().st_size
    assert "of 6 images" in str(result)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 192


def test_compare_wants_one_task(run: Path, tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(tiny_config(tmp_path)))
    data = TrainingCLI(["--config", str(tmp_path / "given.yaml")], run=False).datamodule
    with pytest.raises(ValueError, match="ClassificationTask and SyntheticDetectionData"):
        compare(last(run), run / "net.safetensors", data)
