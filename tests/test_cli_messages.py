"""What the command says while it works, and of a picture that only a loader's process meets; who may read its files."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from configs_for_tests import tiny_classification_config, tiny_config

from bnn_tasks.callbacks.files import write_json
from bnn_tasks.cli import VERBS, main


def refused(option: str, value: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of a fit that an option keeps from starting."""
    (folder / "given.yaml").write_text(yaml.safe_dump(tiny_config(folder)))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(folder / "given.yaml"), option, value])
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("bnn-tasks fit: ")
    return line


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_in_evaluation(workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path)
    config["data"]["init_args"]["num_workers"] = workers
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["check-data", "--config", str(tmp_path / "given.yaml")])
    root = Path(config["data"]["init_args"]["root"])
    name = (root / "ImageSets" / "Main" / "test.txt").read_text().split()[0]
    (root / "JPEGImages" / f"{name}.jpg").write_bytes(b"no picture")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["test", "--config", str(tmp_path / "given.yaml")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert (
        error.strip().splitlines()[-1].startswith(f"bnn-tasks test: {root / 'JPEGImages' / name}.jpg: not a readable")
    )


def test_the_command_shows_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    main(["check-data", "--config", str(tmp_path / "given.yaml")])
    shutil.rmtree(Path(config["data"]["init_args"]["root"]) / "ImageSets")
    config["data"]["class_path"] = "VOCDetectionData"
    for name in set(config["data"]["init_args"]) - {"root", "sizes"}:
        del config["data"]["init_args"][name]
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("sys.argv", ["bnn-tasks", "check-data", "--config", str(tmp_path / "given.yaml")])
    log = logging.getLogger("bnn_tasks")
    before = log.level
    try:
        main()
    finally:
        log.setLevel(before)
    assert "so the test split is the val split" in caplog.text


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_json(tmp_path / "results.json", {})
    assert (tmp_path / "results.json").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "usual"]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--trainer.max_epochs", "foo", 'Parser key "trainer.max_epochs": Expected a int Given value: foo'),
        ("--data.init_args.batch_size", "x", 'Parser key "batch_size": Expected a int. Got value: x'),
        ("--model.init_args.model.init_args.nonsense", "3", "Option 'nonsense' is not accepted."),
        ("--nonsense", "3", "unrecognized arguments: --nonsense 3"),
        (
            "--model.init_args.model.init_args.backbone.init_args.depth",
            "17",
            "Expected `depth` to be one of [18, 34, 50]",
        ),
    ],
)
def test_a_refused_option_is_told_in_a_line(
    option: str, value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(option, value, tmp_path, capsys)
    assert told in line
    assert "Namespace" not in line
    assert "Union" not in line


@pytest.mark.parametrize(
    ("place", "name", "told"),
    [
        (("model", "init_args", "model", "init_args", "neck"), "FNP", "but got 'FNP'; nearest: FPN. Cure: one of "),
        (("model", "init_args", "model", "init_args", "backbone"), "FPN", "AlexNet, Backbone, CifarResNet, ResNet, "),
        (("model",), "DetectionTsk", "but got 'DetectionTsk'; nearest: DetectionTask, "),
        (("data",), "VOCData", "one of CIFAR100Data, "),
        (("trainer", "callbacks", 0), "LatCheckpoint", "nearest: LastCheckpoint, "),
    ],
)
def test_a_class_that_does_not_fit_is_told_with_those_that_do(
    place: tuple[str | int, ...], name: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path)
    value: Any = config
    for key in place:
        value = value[key]
    value["class_path"] = name
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tmp_path / "given.yaml")])
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Expected the name of a class that fits here" in line
    assert told in line
    assert "class_path'" not in line.replace("given class_path '", ""), "no dump of the config"


def test_a_folder_behind_window_is_no_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "net.safetensors", "--window", "pictures", "--out", "out"])
    assert "'pictures' is no overlap; with the usual one, write --window last" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--trainer.devices", "0", "`Trainer(devices='0')` value is not a valid input using cpu accelerator."),
        ("--trainer.accumulate_grad_batches", "0", "Expected trainer.accumulate_grad_batches to be >= 1, but got 0."),
        ("--trainer.precision", "bf16-true", "32 or 64 bits, but got bf16-true. Cure: bf16-mixed."),
        ("--trainer.precision", "16-true", "32 or 64 bits, but got 16-true. Cure: bf16-mixed."),
    ],
)
def test_a_trainer_that_cannot_work(
    option: str, value: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(option, value, tmp_path, capsys).endswith(told)


def test_an_interrupted_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(arguments: Sequence[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "bench", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["bench", "net.safetensors"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "bnn-tasks bench: stopped by Ctrl-C.\n"


def test_a_size_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(tiny_config(tmp_path)))
    with pytest.raises(SystemExit) as stop:
        main(["profile", str(tmp_path / "given.yaml"), "--size", "0", "5"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "bnn-tasks profile: Expected --size to be two sides >= 1 px, but got 0 5.\n"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with given.yaml of a classifier and its checkpoint."""
    folder = tmp_path_factory.mktemp("classifier")
    config = tiny_classification_config(folder, 1)
    config["trainer"]["limit_val_batches"] = 0
    (folder / "given.yaml").write_text(yaml.safe_dump(config))
    main(["fit", "--config", str(folder / "given.yaml")])
    return folder


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_checkpoint_of_another_task(
    verb: str, classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(tiny_config(tmp_path)))
    checkpoint = str(classifier / "checkpoints" / "last.ckpt")
    with pytest.raises(SystemExit) as stop:
        main([verb, "--config", str(tmp_path / "given.yaml"), "--ckpt_path", checkpoint])
    assert stop.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"bnn-tasks {verb}: Expected task and data of one kind, but got ClassificationTask (of {checkpoint!r}) and "
        "SyntheticDetectionData. Cure: the config that the checkpoint was trained with."
    )


def test_a_checkpoint_whose_weights_are_of_another_net(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(classifier / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["state_dict"]["model.backbone.bn1.bias"]
    torch.save(checkpoint, tmp_path / "other.ckpt")
    words = ["--config", str(classifier / "given.yaml"), "--ckpt_path", str(tmp_path / "other.ckpt")]
    with pytest.raises(SystemExit) as stop:
        main(["test", *words, "--trainer.default_root_dir", str(tmp_path)])
    assert stop.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "its settings describe, but its 'model.backbone.bn1.bias' is missing, not (4,). Cure: another checkpoint"
        in line
    )


@pytest.mark.parametrize("loaded", [False, True])
def test_a_net_that_no_checkpoint_fills(
    loaded: bool, classifier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["test", "--config", str(classifier / "given.yaml"), "--trainer.default_root_dir", str(tmp_path)]
    main([*words, *(["--ckpt_path", str(classifier / "checkpoints" / "last.ckpt")] if loaded else [])])
    told = [record.getMessage() for record in caplog.records if record.name == "bnn_tasks.training"]
    warning = "no --ckpt_path: the net is used as it was built. Cure: --ckpt_path last, or a file."
    assert told == ([] if loaded else [warning])
