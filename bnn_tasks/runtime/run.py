"""``bnn-tasks run``: an artifact over pictures and folders of pictures; no torch."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bnn_tasks.runtime import answers
from bnn_tasks.runtime.coco_ids import coco_ids
from bnn_tasks.runtime.images import ImageError, image_files, read_image
from bnn_tasks.runtime.predictions_file import PredictionsFile
from bnn_tasks.runtime.segmentation import Segmentation
from bnn_tasks.runtime.session import Session
from bnn_tasks.runtime.sliding import TooLarge, check_overlap

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"})

MASKS = "masks"  # folder of a segmenter's masks, in the folder written to

_log = logging.getLogger(__name__)


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        out: the folder written to.
        images: pictures read and drawn.
        kind: of the net, "detector", "segmenter" or "classifier".
        detections: objects found, drawn or not; None for a net that is no detector.
        milliseconds: mean time an image, from decoded picture to boxes, classes of its pixels, or probabilities.
        damaged: pictures left out, each with the reason.
    """

    out: Path
    kind: str
    images: int = 0
    detections: int | None = None
    milliseconds: float = 0.0
    damaged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = {"detector": f"{self.detections} detection(s)", "segmenter": "segmented", "classifier": "classified"}
        masks = f", masks in {self.out / MASKS}" if self.kind == "segmenter" else ""
        text = (
            f"{self.images} image(s), {found[self.kind]}, {self.milliseconds:.1f} ms an image; "
            f"pictures and predictions.json are in {self.out}{masks}"
        )
        if self.damaged:
            text += f"\n{len(self.damaged)} file(s) left out:\n  " + "\n  ".join(self.damaged)
        return text


def find_images(paths: Sequence[str | os.PathLike[str]], out: Path | None = None) -> Iterator[tuple[Path, str]]:
    """Pictures named by `paths`: files as they are, folders searched for known suffixes, sorted; see `image_files`.

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
            found = image_files(path, SUFFIXES)
            found = [p for p in found if drawn is None or drawn not in p.resolve().parents]
            if not found:
                raise ValueError(f"Expected pictures ({', '.join(sorted(SUFFIXES))}) in {str(path)!r}, but found none.")
            yield from ((p, p.relative_to(path).as_posix()) for p in found)
        elif path.is_file():
            yield path, path.name
        else:
            raise ValueError(f"Expected a picture or a folder, but {str(path)!r} does not exist.")


def _drawn_names(images: Sequence[tuple[Path, str]], out: Path, masks: bool) -> list[Path]:
    """Where each picture is drawn: a PNG of its name, numbered where that is taken, never over an input; nor is its mask."""

    def written(picture: Path) -> list[Path]:
        return [picture, out / MASKS / picture.name] if masks else [picture]

    inputs = {path.resolve() for path, _ in images}
    taken = set(inputs)
    names = []
    for path, _ in images:
        picture, count = out / f"{path.stem}.png", 1
        for file in written(picture):
            if file.resolve() in inputs:
                raise ValueError(
                    f"Expected to leave the pictures as they are, but {str(file)!r} is one. Cure: another --out."
                )
        while any(file.resolve() in taken for file in written(picture)):
            count += 1
            picture = out / f"{path.stem}_{count}.png"
        taken.update(file.resolve() for file in written(picture))
        names.append(picture)
    return names


def _kind(session: Session, model: str) -> str:
    graph = session.graph
    given = {"detector": graph.detections, "segmenter": graph.class_map, "classifier": graph.probabilities}
    kinds = [kind for kind, value in given.items() if value is not None]
    if session.resize is None or not kinds:
        raise ValueError(f"Expected {model!r} to be a detector, segmenter or classifier, but it is none of these.")
    return kinds[0]


def run_folder(
    model: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    threads: int = 1,
    draw_from: float = 0.3,
    window: float | None = None,
    annotations: str | os.PathLike[str] | None = None,
) -> RunReport:
    """Detect objects in pictures, segment or classify them; write each picture with the result, and ``predictions.json``.

    ``predictions.json`` lists ``file_name`` (relative to the folder it was found in) and ``image_id`` (1-based, in order), then
    of a detector for every object ``category_id`` (1-based label), ``category`` (name), ``score`` and ``bbox`` (xywh in pixels
    of the picture as EXIF turns it); of a classifier once for every picture the same without ``bbox``, with ``top5`` (names and
    scores, falling); of a segmenter once for every picture ``mask`` (its file) and ``shares`` (of the pixels, by class name).
    A mask is a PNG of the picture's size whose palette index is the class. A run that is killed has written the rows of all but
    the last seconds.

    Args:
        model: an artifact of a detector, a segmenter or a classifier.
        paths: pictures and folders of pictures.
        out: folder to write to; made if it is missing.
        threads: of the kernels.
        draw_from: detections of a lower score are listed but not drawn, in [0, 1].
        window: of a segmenter, share by which windows of the input's size overlap, in [0, 1), in which pictures that are larger
            are segmented at their own scale; None resizes each picture to the input.
        annotations: of a detector, a COCO file whose own image and category ids ``predictions.json`` gets, by ``file_name`` and
            class name; pictures that it lacks are left out with a warning. None numbers pictures and labels.

    Raises:
        ArtifactError: `model` is damaged.
        ValueError: `model` is none of the three, there is nothing to read, a picture would be drawn over, `out` is a file,
            `draw_from` or `window` is out of range, `window` or `annotations` is not for this net, or `annotations` has not
            what it needs, see `coco_ids`.
    """
    if not 0 <= draw_from <= 1:
        raise ValueError(f"Expected the score to draw from to be in [0, 1], but got {draw_from}.")
    session = Session(model, threads=threads)
    report = RunReport(Path(out), _kind(session, os.fspath(model)))
    report.detections = 0 if report.kind == "detector" else None
    if window is not None and report.kind != "segmenter":
        raise ValueError(
            f"Expected a segmenter for --window, but {os.fspath(model)!r} is a {report.kind}. Cure: without."
        )
    if window is not None:
        check_overlap(window)
    if annotations is not None and report.kind != "detector":
        raise ValueError(
            f"Expected a detector for --annotations, but {os.fspath(model)!r} is a {report.kind}. Cure: without."
        )
    if report.out.is_file():
        raise ValueError(f"Expected --out to be a folder, but {os.fspath(out)!r} is a file. Cure: another name.")
    images = list(find_images(paths, report.out))
    names = _drawn_names(images, report.out, report.kind == "segmenter")
    category_ids: Sequence[int] = range(1, len(session.classes) + 1)
    image_ids: Sequence[int | None] = range(1, len(images) + 1)
    if annotations is not None:
        category_ids, image_ids = coco_ids(Path(annotations), session.classes, [name for _, name in images])
    report.out.mkdir(parents=True, exist_ok=True)
    session.warm_up()
    seconds = 0.0
    with PredictionsFile(report.out / "predictions.json") as predictions:
        for (path, name), picture, image_id in zip(images, names, image_ids):
            if image_id is None:
                continue
            try:
                image = read_image(path)
            except ImageError as error:
                _log.warning("%s", error)
                report.damaged.append(str(error))
                continue
            start = time.perf_counter()
            try:
                found = session([image])[0] if window is None else session.segment_windows(image, window)
            except TooLarge as error:
                _log.warning("%s: %s", path, error)
                report.damaged.append(f"{path}: {error}")
                continue
            seconds += time.perf_counter() - start
            report.images += 1
            head: dict[str, object] = {"image_id": image_id, "file_name": name}
            if isinstance(found, Segmentation):
                (report.out / MASKS).mkdir(exist_ok=True)
                answers.mask_picture(found.classes).save(report.out / MASKS / picture.name)
                head["mask"] = f"{MASKS}/{picture.name}"
            listed = answers.rows(found, session.classes, category_ids)
            if report.detections is not None:
                report.detections += len(listed)
            Image.fromarray(answers.drawn(image, found, session.classes, draw_from)).save(picture)
            predictions.add({**head, **row} for row in listed)
    if not report.images:
        raise ValueError("Expected at least one readable picture, but got none:\n  " + "\n  ".join(report.damaged))
    report.milliseconds = 1e3 * seconds / report.images
    return report
