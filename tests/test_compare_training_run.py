"""One training in a folder: done once, resumed, one process at a time, its time counted; and the table of many methods."""

import fcntl
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bnn_tasks.compare import training_run
from bnn_tasks.compare.training_run import Run, read_config

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare_methods.py"
CONFIG = {"trainer": {"max_epochs": 2}}


def test_a_training_that_outlives_a_killed_caller_keeps_its_folder(tmp_path: Path) -> None:
    run = Run("plain, seed 0", tmp_path / "plain_0")
    run.folder.mkdir()
    (run.folder / "seconds.json").write_text("1")
    with (run.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    with pytest.raises(BlockingIOError, match=r"plain_0 to be no other process's.*Cure"):
        run.train(CONFIG, (), ())
    orphan.communicate(b"\n")
    run.train(CONFIG, (), ())


def test_commands_hold_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Python says which of its open files is the lock."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nls -l /dev/fd/\n")
    script.chmod(0o755)
    monkeypatch.setattr(training_run.sys, "executable", str(script))
    run = Run("plain, seed 0", tmp_path / "plain_0")
    run.train(CONFIG, (), ())
    assert str(run.folder / "lock") in (run.folder / "fit.log").read_text()


def test_the_time_of_every_attempt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three attempts: killed 50 s after its checkpoint of second 100, killed before any, and one that ends."""
    run, now = Run("plain, seed 0", tmp_path / "plain_0"), 1000.0
    monkeypatch.setattr(training_run.time, "time", lambda: now)

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

        monkeypatch.setattr(training_run.Run, "_call", call)
        run.train(CONFIG, (), ())

    for seconds, saved in ((150.0, 100.0), (30.0, None)):
        with pytest.raises(KeyboardInterrupt):
            attempt(seconds, saved, True)
        now += 500  # nothing runs
    attempt(200.0, 200.0, False)
    assert json.loads((run.folder / "seconds.json").read_text()) == 300


@pytest.mark.parametrize("status", [1, 143])
def test_a_fit_that_was_stopped_is_not_finished(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """143 is what SIGTERM leaves. A stand-in for Python says its words and ends with the status of a file."""
    script, said = tmp_path / "python", tmp_path / "status"
    script.write_text(f'#!/bin/sh\necho "words: $*"\nexit $(cat {said})\n')
    script.chmod(0o755)
    monkeypatch.setattr(training_run.sys, "executable", str(script))
    run = Run("plain, seed 0", tmp_path / "plain_0")
    said.write_text(str(status))
    with pytest.raises(
        ChildProcessError, match=r"(?s)fit of plain, seed 0 ended with status \d+; .*fit\.log ends with:\nwords: "
    ):
        run.train(CONFIG, ["--trainer.default_root_dir", "elsewhere"], ("test",))
    assert not (run.folder / "seconds.json").exists()
    run.checkpoint.parent.mkdir()
    run.checkpoint.touch()
    said.write_text("0")
    run.train(CONFIG, ["--trainer.default_root_dir", "elsewhere"], ("test",))
    assert (run.folder / "seconds.json").exists()
    last = ["--trainer.default_root_dir", str(run.folder), "--ckpt_path", str(run.checkpoint)]
    for verb in ("fit", "test"):
        words = (run.folder / f"{verb}.log").read_text().split()
        assert words[-4:] == last  # of a word that comes twice, the last counts
    assert yaml.safe_load((run.folder / "base.yaml").read_text()) == CONFIG


@pytest.mark.parametrize(("text", "said"), [("a: [1\n b: {", "no YAML"), ("", "NoneType")])
def test_what_is_no_config(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.yaml' to be a config.*{said}"):
        read_config(tmp_path / "bad.yaml")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that the script gave; each is as quick as if it had nothing to do."""
    made: list[list[str]] = []

    def call(run: Run, words: list[str], lock: int) -> None:
        made.append(words)
        metrics = {"test/top1": {"bnn": 0.5, "react": 0.75}[run.name], "test/loss": 1.0}
        (run.folder / "results.json").write_text(json.dumps({"test": {"metrics": metrics}}))

    monkeypatch.setattr(Run, "_call", call)
    return made


def methods(out: Path, *options: str) -> list[str]:
    return ["--out", str(out), "--methods", "bnn", "react", "--options", *options]


def run_script(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_methods_are_trained_once_and_never_mixed(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SCRIPT.parents[1])
    run_script(monkeypatch, methods(tmp_path, "--trainer.max_epochs", "1"))
    assert [words[0] for words in calls] == ["fit", "test", "fit", "test"]
    for words, method in zip(calls, ("bnn", "bnn", "react", "react"), strict=True):
        text = " ".join(words)
        assert f"block.init_args.method {method} --trainer.max_epochs 1" in text
        assert f"--trainer.default_root_dir {tmp_path / method}" in text
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["react", "75.00%"], ["bnn", "50.00%"]]
    run_script(monkeypatch, methods(tmp_path, "--trainer.max_epochs", "1"))
    assert len(calls) == 4
    assert capsys.readouterr().out.splitlines() == table
    with pytest.raises(SystemExit) as stop:
        run_script(monkeypatch, methods(tmp_path, "--trainer.max_epochs", "2"))
    assert stop.value.code == 2
    assert "overrides.3 2 (not 1). Cure: another folder `out`" in capsys.readouterr().err
    assert len(calls) == 4


def test_an_unknown_method_is_a_line(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_script(monkeypatch, ["--out", str(tmp_path), "--methods", "bnn", "foo"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("compare_methods.py: Expected `method` to be one of")
    assert calls == []
