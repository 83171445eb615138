"""The command in-process: every verb on one tiny run, and what it says about bad input."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from configs_for_tests import tiny_config
from PIL import Image

from bnn_tasks.cli import main
from bnn_tasks.runtime import Session


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with given.yaml, a finished fit, which saved config.yaml, and its artifact."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "given.yaml").write_text(yaml.safe_dump(tiny_config(folder)))
    main(["fit", "--config", str(folder / "given.yaml")])
    main(["export", str(folder / "checkpoints" / "last.ckpt"), "--out", str(folder / "net.safetensors")])
    return folder


def last(run: Path) -> str:
    return str(run / "checkpoints" / "last.ckpt")


def stopped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must end with status 2 and one line on stderr; the line."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    lines = error.strip().splitlines()
    assert len(lines) == 1, error
    return lines[0]


def test_fit_leaves_what_it_promises(run: Path) -> None:
    assert json.loads((run / "results.json").read_text())["val"]["step"] == 4
    for name in ("samples_val.png", "val/predictions.json", "val/ground_truth.json", "config.yaml"):
        assert (run / name).is_file(), name
    checkpoint = torch.load(last(run), weights_only=True)
    assert checkpoint["global_step"] == 4
    assert checkpoint["bnn_tasks"]["classes"] == ["circle", "square", "triangle"]


@pytest.mark.parametrize(("verb", "stage"), [("validate", "val"), ("test", "test")])
def test_evaluating_a_checkpoint(verb: str, stage: str, run: Path, tmp_path: Path) -> None:
    main(
        [
            verb,
            "--config",
            str(run / "given.yaml"),
            "--ckpt_path",
            last(run),
            "--trainer.default_root_dir",
            str(tmp_path),
        ]
    )
    metrics = json.loads((tmp_path / "results.json").read_text())[stage]["metrics"]
    assert f"{stage}/ap" in metrics
    if stage == "val":  # the last epoch of fit validated the same weights
        fitted = json.loads((run / "results.json").read_text())["val"]["metrics"]
        for name, value in metrics.items():
            assert value == (None if fitted[name] is None else pytest.approx(fitted[name], abs=1e-6)), name


def test_predict(run: Path, tmp_path: Path) -> None:
    main(
        [
            "predict",
            "--config",
            str(run / "given.yaml"),
            "--ckpt_path",
            last(run),
            "--trainer.default_root_dir",
            str(tmp_path),
        ]
    )
    assert isinstance(json.loads((tmp_path / "predict" / "predictions.json").read_text()), list)


def test_export_proves_and_says_so(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", last(run), "--out", str(tmp_path / "net.safetensors"), "--size", "32", "64"])
    assert "accumulators identical" in capsys.readouterr().out
    session = Session(tmp_path / "net.safetensors")
    assert session.resize.sizes == ((32, 64),)
    assert session.classes == ("circle", "square", "triangle")
    assert Session(run / "net.safetensors").resize.sizes == ((64, 64),)


def test_run_draws_and_writes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 90)), ("b.jpg", (64, 64))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(tmp_path / name)
    main(["run", str(run / "net.safetensors"), str(tmp_path), "--out", str(tmp_path / "out")])
    assert "2 image(s)" in capsys.readouterr().out
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert isinstance(predictions, list)
    pictures = sorted(p.stem for p in (tmp_path / "out").rglob("*") if p.suffix in (".png", ".jpg"))
    assert pictures == ["a", "b"]


def test_profile_of_all_three_kinds(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for path in (run / "given.yaml", Path(last(run)), run / "net.safetensors", run / "config.yaml"):
        main(["profile", str(path)])
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] == tables[3], "a config, its checkpoint, and the config that fit saved"
    assert "backbone.layer1.0.first.conv" in tables[0]
    assert "1-bit share" in tables[0]
    assert "backbone.layer1.0.first.conv" in tables[2]
    main(["profile", str(run / "given.yaml"), "--size", "128", "128"])
    assert capsys.readouterr().out != tables[0]


def test_an_artifact_of_any_name(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "net.bnn"
    other.write_bytes((run / "net.safetensors").read_bytes())
    main(["profile", str(other)])
    assert "backbone.layer1.0.first.conv" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["given.yaml", "config.yaml"])
def test_check_data_of_a_sound_set(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check-data", "--config", str(run / name)])
    assert "train" in capsys.readouterr().out


def test_check_data_of_a_damaged_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["check-data", "--config", str(tmp_path / "given.yaml")])
    (Path(config["data"]["init_args"]["root"]) / "JPEGImages" / "000001.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as stop:
        main(["check-data", "--config", str(tmp_path / "given.yaml")])
    assert stop.value.code == 1
    assert "000001.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments)
    assert "usage: bnn-tasks VERB" in capsys.readouterr().out


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip().endswith("Expected a verb, but got 'trian'.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "nowhere.ckpt", "--out", "net.safetensors"],
        ["profile", "nowhere.ckpt"],
        ["profile", "nowhere.safetensors"],
        ["run", "nowhere.safetensors", ".", "--out", "out"],
    ],
    ids=lambda a: " ".join(a[:2]),
)
def test_a_missing_file(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nowhere" in stopped(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


def test_missing_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, out = str(run / "net.safetensors"), str(tmp_path / "out")
    assert "nothing.png" in stopped(["run", net, str(tmp_path / "nothing.png"), "--out", out], capsys)
    (tmp_path / "empty").mkdir()
    assert "empty" in stopped(["run", net, str(tmp_path / "empty"), "--out", out], capsys)
    assert "--images to be a folder with pictures" in stopped(["bench", net, "--images", str(tmp_path / "no")], capsys)


def test_where_nothing_can_be_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    words = ["run", str(run / "net.safetensors"), str(tmp_path), "--out", str(tmp_path / "file")]
    assert "is a file. Cure: another name" in stopped(words, capsys)
    words = ["export", last(run), "--out", str(tmp_path / "none" / "net.safetensors")]
    assert "Cure: make the folder" in stopped(words, capsys)


class Code:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


CHECKPOINTS = {
    "empty": b"",
    "text": b"model: RetinaNet\n",
    "bytes": bytes(range(256)) * 8,
    "pickle": pickle.dumps({"a": 1}),
    "code": pickle.dumps(Code()),
}


@pytest.mark.parametrize("verb", ["export", "profile"])
@pytest.mark.parametrize("kind", [*CHECKPOINTS, "state_dict", "tensor", "zipped code", "cut", "artifact"])
def test_a_checkpoint_of_something_else(
    kind: str,
    verb: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("other.ckpt")
    if kind in CHECKPOINTS:
        path.write_bytes(CHECKPOINTS[kind])
    elif kind in ("cut", "artifact"):
        source = Path(last(run)) if kind == "cut" else run / "net.safetensors"
        path.write_bytes(source.read_bytes()[: 20_000 if kind == "cut" else None])
    else:
        torch.save({"state_dict": {"a": torch.zeros(2)}, "tensor": torch.zeros(2), "zipped code": Code()}[kind], path)
    arguments = [verb, str(path), *(["--out", "net.safetensors"] if verb == "export" else [])]
    message = stopped(arguments, capsys)
    assert "other.ckpt" in message
    assert "checkpoint that `bnn-tasks fit` wrote" in message
    assert [p.name for p in Path().iterdir()] == ["other.ckpt"]


def test_a_checkpoint_whose_weights_do_not_fit(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = torch.load(last(run), weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    del checkpoint["state_dict"][name]
    torch.save(checkpoint, tmp_path / "other.ckpt")
    message = stopped(["export", str(tmp_path / "other.ckpt"), "--out", str(tmp_path / "net.safetensors")], capsys)
    assert "other.ckpt" in message
    assert not (tmp_path / "net.safetensors").exists()


@pytest.mark.parametrize("size", [["0", "64"], ["64", "100000"]])
def test_a_size_out_of_range(size: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "sizes" in stopped(["export", last(run), "--out", str(tmp_path / "n.safetensors"), "--size", *size], capsys)


def test_a_data_set_that_is_not_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path)
    config["data"] = {
        "class_path": "VOCDetectionData",
        "init_args": {"root": str(tmp_path / "nowhere"), "sizes": [[64, 64]], "num_workers": 0},
    }
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    for verb in ("fit", "check-data"):
        assert "nowhere" in stopped([verb, "--config", str(tmp_path / "given.yaml")], capsys)


def test_a_config_error_names_the_key(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path)
    config["model"]["init_args"]["optimzer"] = config["model"]["init_args"].pop("optimizer")
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(tmp_path / "given.yaml")])
    assert stop.value.code == 2
    assert "optimzer" in capsys.readouterr().err


def test_a_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNN_TASKS_TRACEBACK", "1")
    with pytest.raises(OSError, match=r"nowhere\.ckpt"):
        main(["profile", "nowhere.ckpt"])


def test_a_checkpoint_of_other_classes(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path)
    config["data"]["init_args"]["shapes"] = ["circle", "star"]
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    checkpoint = str(run / "checkpoints" / "last.ckpt")
    error = stopped(["test", "--config", str(tmp_path / "given.yaml"), "--ckpt_path", checkpoint], capsys)
    assert "trained on the data's classes ['circle', 'star']" in error
