"""``bnn-tasks run``: an artifact over pictures and folders of pictures; no torch."""

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bnn_tasks.runtime.captions import captioned
from bnn_tasks.runtime.classification import Classification
from bnn_tasks.runtime.detection import Detections
from bnn_tasks.runtime.draw import draw_boxes
from bnn_tasks.runtime.images import ImageError, read_image
from bnn_tasks.runtime.session import Session

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"})

TOP = 5  # classes that are listed for each picture

_log = logging.getLogger(__name__)


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        out: the folder written to.
        images: pictures read and drawn.
        detections: objects found, drawn or not; None for a classifier.
        milliseconds: mean time an image, from decoded picture to boxes or probabilities.
        damaged: pictures left out, each with the reason.
    """

    out: Path
    images: int = 0
    detections: int | None = None
    milliseconds: float = 0.0
    damaged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = "classified" if self.detections is None else f"{self.detections} detection(s)"
        text = (
            f"{self.images} image(s), {found}, {self.milliseconds:.1f} ms an image; "
            f"pictures and predictions.json are in {self.out}"
        )
        if self.damaged:
            text += f"\n{len(self.damaged)} file(s) left out:\n  " + "\n  ".join(self.damaged)
        return text


def find_images(paths: Sequence[str | os.PathLike[str]], out: Path | None = None) -> Iterator[tuple[Path, str]]:
    """Pictures named by `paths`: files as they are, folders searched for known suffixes, sorted.

    Args:
        paths: files and folders.
        out: folder whose pictures are left out: what an earlier run drew.

    Returns:
        Each picture, and its name relative to the folder it was found in.

    Raises:
        ValueError: a path does not exist, or a folder holds no picture.
    """
    for path in map(Path, paths):
        if path.is_dir():
            drawn = None if out is None or out.resolve() == path.resolve() else out.resolve()
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            found = [p for p in found if drawn is None or drawn not in p.resolve().parents]
            if not found:
                raise ValueError(f"Expected pictures ({', '.join(sorted(SUFFIXES))}) in {str(path)!r}, but found none.")
            yield from ((p, p.relative_to(path).as_posix()) for p in found)
        elif path.is_file():
            yield path, path.name
        else:
            raise ValueError(f"Expected a picture or a folder, but {str(path)!r} does not exist.")


def _drawn_names(images: Sequence[tuple[Path, str]], out: Path) -> list[Path]:
    """Where each picture is drawn: a PNG of its name, numbered where that is taken, never over an input."""
    inputs = {path.resolve() for path, _ in images}
    taken = set(inputs)
    names = []
    for path, _ in images:
        drawn, count = out / f"{path.stem}.png", 1
        if drawn.resolve() in inputs:
            raise ValueError(
                f"Expected to leave the pictures as they are, but {str(drawn)!r} is one. Cure: another --out."
            )
        while drawn.resolve() in taken:
            count += 1
            drawn = out / f"{path.stem}_{count}.png"
        taken.add(drawn.resolve())
        names.append(drawn)
    return names


def _detected(found: Detections, classes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "category_id": label + 1,
            "category": classes[label],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for (x0, y0, x1, y1), score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    ]


def _classified(found: Classification, classes: Sequence[str]) -> list[dict[str, Any]]:
    best = [{"category": classes[k], "score": float(found.probabilities[k])} for k in found.top(TOP)]
    return [{"category_id": found.label + 1, **best[0], "top5": best}]


def _drawn(
    image: np.ndarray, found: Detections | Classification, classes: Sequence[str], draw_from: float
) -> np.ndarray:
    if isinstance(found, Classification):
        return captioned(image, [f"{classes[found.label]} {found.probabilities[found.label]:.0%}"])
    shown = found.scores >= draw_from
    return draw_boxes(image, found.boxes[shown], found.labels[shown], classes, found.scores[shown])


def run_folder(
    model: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    threads: int = 1,
    draw_from: float = 0.3,
) -> RunReport:
    """Detect objects in pictures, or classify them; write each picture with its boxes or label, and ``predictions.json``.

    ``predictions.json`` lists ``file_name`` (relative to the folder it was found in), ``image_id`` (1-based, in order),
    ``category_id`` (1-based label), ``category`` (name) and ``score``: for every object found, with ``bbox`` (xywh in pixels
    of the picture as EXIF turns it); of a classifier once for every picture, with ``top5`` (names and scores, falling).

    Args:
        model: an artifact of a detector or a classifier.
        paths: pictures and folders of pictures.
        out: folder to write to; made if it is missing.
        threads: of the kernels.
        draw_from: detections of a lower score are listed but not drawn, in [0, 1].

    Raises:
        ArtifactError: `model` is damaged.
        ValueError: `model` is neither a detector nor a classifier, there is nothing to read, a picture would be drawn over, or
            `draw_from` is out of range.
    """
    if not 0 <= draw_from <= 1:
        raise ValueError(f"Expected the score to draw from to be in [0, 1], but got {draw_from}.")
    session = Session(model, threads=threads)
    if session.resize is None or not session.graph.results:
        raise ValueError(f"Expected {os.fspath(model)!r} to be a detector or a classifier, but it is neither.")
    report = RunReport(Path(out), detections=None if session.graph.detections is None else 0)
    images = list(find_images(paths, report.out))
    drawn_names = _drawn_names(images, report.out)
    report.out.mkdir(parents=True, exist_ok=True)
    session.warm_up()
    predictions: list[dict[str, object]] = []
    seconds = 0.0
    for index, (path, name) in enumerate(images, 1):
        try:
            image = read_image(path)
        except ImageError as error:
            _log.warning("%s", error)
            report.damaged.append(str(error))
            continue
        start = time.perf_counter()
        (found,) = session([image])
        seconds += time.perf_counter() - start
        report.images += 1
        rows = (_classified if isinstance(found, Classification) else _detected)(found, session.classes)
        predictions += [{"image_id": index, "file_name": name, **row} for row in rows]
        if report.detections is not None:
            report.detections += len(rows)
        Image.fromarray(_drawn(image, found, session.classes, draw_from)).save(drawn_names[index - 1])
    if not report.images:
        raise ValueError("Expected at least one readable picture, but got none:\n  " + "\n  ".join(report.damaged))
    report.milliseconds = 1e3 * seconds / report.images
    (report.out / "predictions.json").write_text(json.dumps(predictions, indent=1))
    return report
