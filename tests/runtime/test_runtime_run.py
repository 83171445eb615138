"""`bnn-tasks run` without torch: what it reads, writes and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from graphs import tiny_detector
from PIL import Image

from bnn_tasks.runtime import Session, predictions_file
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.run import run_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save(path, *tiny_detector())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "a.png", "b/a.jpg", "b/c.bmp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return tmp_path / "in"


def test_pictures_of_one_name_in_several_folders(model: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "cut.png").write_bytes((pictures / "a.png").read_bytes()[:60])
    report = run_folder(model, [pictures], tmp_path / "out")
    assert report.images == 4
    assert len(report.damaged) == 1
    assert "cut.png" in report.damaged[0]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png", "a_2.png", "a_3.png", "c.png"]
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {p["file_name"] for p in found} <= {"a.jpg", "a.png", "b/a.jpg", "b/c.bmp"}
    assert report.detections == len(found)


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_a_run_that_is_ended_keeps_the_rows_of_its_pictures(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float
) -> None:
    monkeypatch.setattr(predictions_file, "SAVE_EVERY", every)
    whole = run_folder(model, [pictures], tmp_path / "whole")
    rows = json.loads((tmp_path / "whole" / "predictions.json").read_text())
    assert len(rows) == whole.detections
    call, done = Session.__call__, []

    def interrupted(self: Session, images: list[np.ndarray]) -> list:
        kept = tmp_path / "out" / "predictions.json"
        assert not kept.exists() or "stale" not in kept.read_text()
        if len(done) == 2:
            seen = sum(row["image_id"] <= 2 for row in rows)
            assert (len(json.loads(kept.read_text())) == seen) if every == 0 else not kept.exists()
            raise KeyboardInterrupt
        done.append(images)
        return call(self, images)

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.json").write_text('["stale"]')
    monkeypatch.setattr(Session, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_folder(model, [pictures], tmp_path / "out")
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found == [row for row in rows if row["image_id"] <= 2]


def test_a_second_run_does_not_read_what_the_first_drew(model: Path, pictures: Path) -> None:
    assert run_folder(model, [pictures], pictures / "out").images == 4
    assert run_folder(model, [pictures], pictures / "out").images == 4


def test_a_picture_is_never_drawn_over(model: Path, pictures: Path) -> None:
    before = (pictures / "a.png").read_bytes()
    with pytest.raises(ValueError, match="Cure: another --out"):
        run_folder(model, [pictures / "a.png"], pictures)
    assert (pictures / "a.png").read_bytes() == before


@pytest.mark.parametrize("score", [-0.1, 7.0])
def test_a_score_out_of_range(score: float, model: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        run_folder(model, [pictures], tmp_path / "out", draw_from=score)


def test_an_empty_folder(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none"):
        run_folder(model, [tmp_path], tmp_path / "out")
