"""What a segmenter's evaluation leaves in the run's folder, and how masks are drawn."""

import json
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from segmentation_oracle import CLASSES, Oracle, mask_data, segmentation_task, trainer, write_set

from bnn_tasks.callbacks import DetectionCurves, ResultsWriter, SamplePictures
from bnn_tasks.callbacks.segmentation_pictures import draw_class_bars, draw_pixel_confusion, segmentation_sheet
from bnn_tasks.runtime.class_colours import legend, legend_with_void, overlay, voc_palette
from bnn_tasks.tasks import SegmentationTask

VOID = 255


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def tested(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, L.Trainer, SegmentationTask]:
    folder = tmp_path_factory.mktemp("run")
    t, m = trainer(folder, ResultsWriter(), SamplePictures(count=3)), segmentation_task(Oracle)
    t.test(m, mask_data(root), verbose=False)
    return folder, t, m


def test_results_say_what_they_rest_on(tested: tuple, root: Path) -> None:
    folder, t, m = tested
    result = json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)["test"]
    assert result["images"] == 5
    masks = [np.array(Image.open(path)) for path in (root / "masks" / "val").iterdir()]
    pixels = [sum(int((mask == label).sum()) for mask in masks) for label in range(4)]
    assert result["pixels"] == dict(zip(CLASSES, pixels))
    for name, value in result["metrics"].items():
        logged = float(t.callback_metrics[name])
        assert value is None if math.isnan(logged) else value == pytest.approx(logged), name
    written = json.loads((folder / "test" / "confusion_matrix.json").read_text())
    assert written == {"classes": CLASSES, "counts": m.confusion.matrix.tolist()}
    assert np.sum(written["counts"], 1).tolist() == pixels
    assert not (folder / "test" / "predictions.json").exists()
    for name in ("confusion_matrix.png", "classes.png"):
        Image.open(folder / "test" / name).verify()


def test_written_masks_give_the_confusion_matrix_back(tested: tuple, root: Path) -> None:
    folder, _, m = tested
    counts = np.zeros((4, 4), np.int64)
    for path in (root / "masks" / "val").iterdir():
        written = Image.open(folder / "test" / "masks" / path.name)
        assert written.mode == "P"
        assert (np.array(written.convert("RGB")) == voc_palette()[np.array(written)]).all()
        truth, predicted = np.array(Image.open(path)), np.array(written)
        np.add.at(counts, (truth[truth != VOID], predicted[truth != VOID]), 1)
    assert (counts == m.confusion.matrix).all()


def test_predictions_are_written_as_masks(root: Path, tmp_path: Path) -> None:
    trainer(tmp_path, ResultsWriter()).predict(segmentation_task(Oracle), mask_data(root))
    assert {path.name for path in (tmp_path / "predict" / "masks").iterdir()} == {f"p{k}.png" for k in range(5)}


def test_a_fit_writes_history_but_no_masks(root: Path, tmp_path: Path) -> None:
    trainer(tmp_path, ResultsWriter()).fit(segmentation_task(), mask_data(root))
    history = json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)
    assert [(entry["epoch"], entry["step"]) for entry in history] == [(0, 3), (1, 6)]
    assert {"val/miou", "val/boundary_f", "val/iou/sky"} <= history[-1]["metrics"].keys()
    assert not (tmp_path / "val" / "masks").exists()


@pytest.fixture(scope="module")
def checkpoints(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of 3 epochs of 3 steps: all that a fit resumes from, and the weights alone."""
    folder = tmp_path_factory.mktemp("fit")
    t = trainer(folder, max_epochs=3, limit_val_batches=0)
    t.fit(segmentation_task(), mask_data(root))
    for name, weights_only in (("whole", False), ("weights", True)):
        t.save_checkpoint(folder / name, weights_only)
    return [folder / "whole", folder / "weights"]


@pytest.mark.parametrize(("evaluate", "stage"), [(L.Trainer.validate, "val"), (L.Trainer.test, "test")])
def test_results_name_the_checkpoints_epoch_and_step(
    root: Path, tmp_path: Path, checkpoints: list[Path], evaluate: Any, stage: str
) -> None:
    t = trainer(tmp_path, ResultsWriter())
    for path in (*checkpoints, None):
        evaluate(t, segmentation_task(), None, path, verbose=False, datamodule=mask_data(root), weights_only=True)
        saved = {} if path is None else torch.load(path, weights_only=True)
        written = json.loads((tmp_path / "results.json").read_text())[stage]
        assert (written["epoch"], written["step"]) == (saved.get("epoch"), saved.get("global_step"))
        assert written["step"] == (None if path is None else 9)


def test_samples_show_picture_truth_and_prediction(tested: tuple, root: Path) -> None:
    folder, _, _ = tested
    drawn = np.array(Image.open(folder / "samples_test.png"))
    data = mask_data(root)
    rows = []
    for record in [data.records("test")[index] for index in (0, 2, 4)]:
        image, truth = np.array(Image.open(record.path)), np.array(Image.open(record.mask))
        rows.append((image, truth, np.array(Image.open(folder / "test" / "masks" / record.path.name))))
    assert (drawn == segmentation_sheet(rows, CLASSES)).all()


def test_detection_curves_beside_a_segmenter_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="but got SegmentationTask"):
        trainer(tmp_path, DetectionCurves()).validate(segmentation_task(Oracle), mask_data(root), verbose=False)


def test_the_colour_map_is_vocs() -> None:
    """The first and last colours that VOC's development kit lists."""
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0)}
    known |= {15: (192, 128, 128), 20: (0, 64, 128), VOID: (224, 224, 192)}
    palette = voc_palette()
    assert palette.shape == (256, 3)
    assert {label: tuple(palette[label].tolist()) for label in known} == known
    assert len(np.unique(palette, axis=0)) == 256


def test_an_overlay_mixes_and_hides_what_is_void() -> None:
    image = np.full((2, 3, 3), 200, np.uint8)
    mask = np.array([[0, 1, VOID], [2, 1, 0]], np.uint8)
    drawn = overlay(image, mask, 0.25)
    assert drawn[0].tolist() == [[150, 150, 150], [182, 150, 150], [224, 224, 192]]
    assert (overlay(image, mask, 0.0)[mask != VOID] == 200).all()
    assert (overlay(image, mask, 1.0)[1] == voc_palette()[[2, 1, 0]]).all()
    assert (image == 200).all()


@pytest.mark.parametrize("count", [1, 255])
def test_a_legend_has_a_square_of_every_class(count: int) -> None:
    names, palette = [f"name {k}" for k in range(count)], [tuple(colour) for colour in voc_palette().tolist()]
    for draw, wanted in ((legend, palette[:count]), (legend_with_void, [*palette[:count], palette[VOID]])):
        drawn = draw(names, 400)
        assert drawn.shape[1] == 400
        colours = {tuple(pixel) for pixel in drawn.reshape(-1, 3).tolist()}
        assert set(wanted) <= colours
        assert (palette[VOID] in colours) == (draw is legend_with_void)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8)), r"uint8 \(2, 2\), as its picture"),
        (lambda: overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.int64)), "but got int64"),
        (lambda: overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), 1.5), r"`alpha` to be in \[0, 1\]"),
        (lambda: legend([], 100), "1 to 255 names"),
        (lambda: legend(["a"], 8), "`width` of 32"),
        (lambda: legend_with_void(["a"] * 256, 100), "1 to 255 names"),
    ],
)
def test_bad_input_is_refused(call: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("count", [1, 31])
def test_pictures_of_any_number_of_classes_are_drawn(count: int, tmp_path: Path) -> None:
    names = [f"class number {k} with a long name" for k in range(count)]
    draw_pixel_confusion(np.eye(count, dtype=np.int64) * 10**9, names, "title", tmp_path / "a" / "matrix.png")
    draw_class_bars({"IoU": [math.nan] * count, "F": [0.5] * count}, names, "title", tmp_path / "b" / "bars.png")
    for path in tmp_path.rglob("*.png"):
        Image.open(path).verify()


@pytest.mark.parametrize("count", [1, 11, 21, 30, 31])
def test_nothing_of_a_matrix_is_cut_off(count: int, tmp_path: Path) -> None:
    """There is a white rim all round it, whatever room the names take."""
    names = [f"class {k} of some length" if count > 11 else f"{k}" for k in range(count)]
    draw_pixel_confusion(np.eye(count, dtype=np.int64), names, "title", tmp_path / "matrix.png")
    drawn = np.array(Image.open(tmp_path / "matrix.png").convert("L"))
    drawn[5:-5, 5:-5] = 255
    assert (drawn == 255).all()


def test_names_that_look_like_formulas_are_drawn(tmp_path: Path) -> None:
    names = ["a$^$", "$", "c_x and what does not fit"]
    draw_pixel_confusion(np.eye(3, dtype=np.int64), names, "all right", tmp_path / "confusion.png")
    draw_class_bars({"IoU": [0.5, math.nan, 1.0]}, names, "all right", tmp_path / "bars.png")
    for name in ("confusion", "bars"):
        Image.open(tmp_path / f"{name}.png").verify()
