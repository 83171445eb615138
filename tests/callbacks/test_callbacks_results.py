"""What the start of a fit keeps of an earlier run's results, and of files that are damaged."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bnn_tasks.callbacks import ResultsWriter


def start(folder: Path, step: int) -> None:
    """What Lightning calls when a fit begins or goes on after `step`."""
    trainer: Any = SimpleNamespace(is_global_zero=True, fast_dev_run=False, global_step=step, default_root_dir=folder)
    module: Any = None
    ResultsWriter().on_train_start(trainer, module)


def written(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(
    ("step", "kept", "history"),
    [(0, set(), []), (6, {"val"}, [3, 6]), (7, {"val"}, [3, 6]), (9, {"val", "test"}, [3, 6, 9])],
)
def test_what_is_of_other_steps_goes(step: int, kept: set[str], history: list[int], tmp_path: Path) -> None:
    results = {"val": {"step": 6}, "test": {"step": 9}, "test/random": {"step": None}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "history.json").write_text(json.dumps([{"step": one} for one in (3, 6, 9)]))
    start(tmp_path, step)
    assert written(tmp_path, "results.json") == {stage: results[stage] for stage in kept}
    assert [entry["step"] for entry in written(tmp_path, "history.json")] == history


def test_an_empty_folder_stays_empty(tmp_path: Path) -> None:
    start(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'"text"', b"\0\0\0\0", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["results.json", "history.json"])
def test_a_damaged_file_is_set_aside(
    name: str, content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / name).write_bytes(content)
    with caplog.at_level(logging.WARNING, "bnn_tasks"):
        start(tmp_path, 6)
    assert f"{tmp_path / name} is damaged" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.damaged"]
    assert (tmp_path / f"{name}.damaged").read_bytes() == content
