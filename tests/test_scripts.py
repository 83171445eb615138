"""The whole road by scripts/quickstart.py, on the smallest set and net; what scripts say of bad input."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from configs_for_tests import tiny_config

from bnn_tasks.callbacks.checkpoint import last_checkpoint

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run_script(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


def test_the_run_is_where_out_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever `default_root_dir` the config has."""
    config = tiny_config(tmp_path / "elsewhere", 1)
    config["data"]["init_args"]["root"] = str(tmp_path / "set")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    threads, out = torch.get_num_threads(), tmp_path / "out"
    words = ["--config", str(tmp_path / "config.yaml"), "--out", str(out), "--threads", "1"]
    try:
        run_script("quickstart.py", words, monkeypatch)
    finally:
        torch.set_num_threads(threads)
    for file in (last_checkpoint(out), out / "model.safetensors", out / "results.json", out / "detections.png"):
        assert file.is_file(), file
    assert not (tmp_path / "elsewhere").exists()
    assert (out / "comparison.txt").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plot_estimators.py", ["--out", "FILE/picture.png"]),
        ("make_bench_artifacts.py", ["FILE"]),
        ("quickstart.py", ["--config", "FILE/config.yaml"]),
    ],
)
def test_bad_input_is_a_line(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stop:
        run_script(name, [word.replace("FILE", str(tmp_path / "file")) for word in words], monkeypatch)
    assert stop.value.code == 2
    assert str(tmp_path / "file") in capsys.readouterr().err.splitlines()[-1]
