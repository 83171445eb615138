"""`bnn-tasks run` on a segmenter: masks, pictures, shares, windows."""

import json
from pathlib import Path

import numpy as np
import pytest
from graphs import tiny_detector
from PIL import Image
from test_runtime_segmentation import a_graph

from bnn_tasks.cli import main
from bnn_tasks.runtime import Session, read_image
from bnn_tasks.runtime.format import save
from bnn_tasks.runtime.run import run_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save(path, *a_graph())
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 50)), ("b/a.png", (24, 40)), ("b/c.bmp", (10, 300))):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path / "in"


def voc_colour(index: int) -> tuple[int, int, int]:
    """VOClabelcolormap, digit by digit."""
    colour = [0, 0, 0]
    for place in range(8):
        colour[place % 3] |= (index >> place & 1) << (7 - place // 3)
    return tuple(colour)  # type: ignore[return-value]


@pytest.mark.parametrize("window", [None, 0.5])
def test_masks_pictures_and_shares(model: Path, pictures: Path, tmp_path: Path, window: float | None) -> None:
    out = tmp_path / "out"
    report = run_folder(model, [pictures], out, window=window)
    assert (report.images, report.kind, report.detections) == (3, "segmenter", None)
    assert "segmented" in str(report)
    assert str(out / "masks") in str(report)
    session = Session(model)
    found = json.loads((out / "predictions.json").read_text())
    assert [row["file_name"] for row in found] == ["a.png", "b/a.png", "b/c.bmp"]
    assert [row["mask"] for row in found] == ["masks/a.png", "masks/a_2.png", "masks/c.png"]
    for row in found:
        image = read_image(pictures / row["file_name"])
        wanted = session([image])[0] if window is None else session.segment_windows(image, window)
        with Image.open(out / row["mask"]) as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask), wanted.classes)
            colours = np.asarray(mask.convert("RGB"))
        assert tuple(colours[3, 5].tolist()) == voc_colour(wanted.classes[3, 5])
        assert row["shares"] == {f"c{k}": (wanted.classes == k).mean() for k in range(11)}
        with Image.open(out / Path(row["mask"]).name) as drawn:
            assert drawn.mode == "RGB"
            assert drawn.height > image.shape[0], "a legend lies below"
    if window is not None:
        (again,) = session([read_image(pictures / "b/a.png")])
        with Image.open(out / "masks/a_2.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), again.classes)


def test_a_mask_is_never_written_over_an_input(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "masks" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"masks/a.png.*Cure: another --out"):
        run_folder(model, [path], tmp_path)
    assert path.read_bytes() == before


def test_windows_are_for_segmenters(model: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`overlap` to be in \[0, 1\), but got 1\.0"):
        run_folder(model, [pictures], tmp_path / "out", window=1.0)
    save(tmp_path / "detector.safetensors", *tiny_detector())
    with pytest.raises(
        ValueError, match=r"Expected a segmenter for --window, but .*detector\.safetensors' is a detector"
    ):
        run_folder(tmp_path / "detector.safetensors", [pictures], tmp_path / "out", window=0.25)


def test_the_command_line(model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", str(model), str(pictures), "--out", str(tmp_path / "out"), "--window"])
    assert "3 image(s), segmented" in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 3
