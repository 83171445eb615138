"""A segmenter's evaluation as pictures: masks over their images, the confusion matrix, scores by class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bnn_tasks.callbacks.canvas import new_figure
from bnn_tasks.callbacks.matrix_picture import draw_matrix, percent_text
from bnn_tasks.callbacks.short_name import short_name
from bnn_tasks.runtime.captions import picture_grid
from bnn_tasks.runtime.class_colours import legend_with_void, overlay
from bnn_tasks.runtime.draw import INK, MARGIN, PAGE, load_font

TITLES = ("picture", "ground truth", "prediction")
WIDTH = 320  # pixels, of every picture on the sheet
HEADER = 34  # pixels


def segmentation_sheet(rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], classes: Sequence[str]) -> np.ndarray:
    """A line for every picture: the picture, the true mask over it, the predicted one; below, what the colours mean.

    Args:
        rows: (h, w, 3) uint8 RGB, (h, w) uint8 true classes, 255 where void, and (h, w) uint8 predicted classes, of each
            picture; at least one.
        classes: K names.

    Returns:
        (height, width, 3) uint8.
    """
    pictures = [part for image, *masks in rows for part in (image, *(overlay(image, mask) for mask in masks))]
    body = picture_grid(pictures, columns=len(TITLES), width=WIDTH)
    header = Image.new("RGB", (body.shape[1], HEADER), PAGE)
    pen, font = ImageDraw.Draw(header), load_font(18)
    for column, title in enumerate(TITLES):
        middle = MARGIN + column * (WIDTH + MARGIN) + WIDTH / 2
        pen.text((middle, HEADER / 2 + MARGIN / 4), title, fill=INK, font=font, anchor="mm")
    return np.concatenate([np.array(header), body, legend_with_void(classes, body.shape[1])])


def draw_pixel_confusion(matrix: np.ndarray, classes: list[str], title: str, path: Path) -> None:
    """Draw a confusion matrix of pixels; the numbers are percentages of the true class's pixels.

    Args:
        matrix: (K, K) pixels, row: true class.
        classes: K names.
        title: above the picture.
        path: of the PNG.
    """
    draw_matrix(matrix, classes, classes, title, ("true", "predicted"), path, percent_text)


def draw_class_bars(scores: Mapping[str, Sequence[float]], classes: Sequence[str], title: str, path: Path) -> None:
    """Draw a bar for every class and score; a score that is NaN is written as absent.

    Args:
        scores: name of the score -> K values in [0, 1] or NaN.
        classes: K names.
        title: above the picture.
        path: of the PNG.
    """
    count, thickness = len(classes), 0.8 / len(scores)
    figure = new_figure(7.0, min(1.4 + 0.36 * count, 40.0))
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(scores.items()):
        places = np.arange(count) + (index - (len(scores) - 1) / 2) * thickness
        axes.barh(places, np.nan_to_num(np.asarray(values, np.float64)), thickness, label=name)
        for place, value in zip(places, values):
            text = "absent" if np.isnan(value) else f"{value:.2f}"
            axes.text(0.005 + float(np.nan_to_num(value)), float(place), text, va="center", fontsize=6)
    axes.set_yticks(range(count), [short_name(name) for name in classes], fontsize=8)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xlim(0, 1.08)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
