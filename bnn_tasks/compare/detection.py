"""A detector beside its artifact on real images: average precision, matched detections, size, time."""

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnn_tasks.compare.canvas import Canvas, input_size
from bnn_tasks.compare.cost import Cost, side_by_side
from bnn_tasks.compare.sheet import check_sheet
from bnn_tasks.data import DetectionData
from bnn_tasks.data.detection.batch import DetectionTarget
from bnn_tasks.export.regions import runtime_regions
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.export.verify import forced, verify
from bnn_tasks.metrics.boxes import overlaps
from bnn_tasks.models import Boxes, Detector, FasterRCNN
from bnn_tasks.runtime import Detections, Session, read_image
from bnn_tasks.runtime.draw import contact_sheet, draw_boxes
from bnn_tasks.tasks import DetectionMetrics, DetectionTask, ImageDetections

SCORE, IOU, SCORE_GAP = 0.05, 0.95, 0.01  # a detection counts from SCORE on; a match needs IOU and SCORE_GAP


@dataclass(frozen=True)
class DetectionComparison:
    """What the two gave on one split.

    Attributes:
        torch_metrics: of the torch net, as `DetectionMetrics`.
        runtime_metrics: of the artifact.
        detections: of the torch net, of score 0.05 or more.
        matched: those that the artifact gives too (same class, IoU >= 0.95, score within 0.01).
        ties: activation bits that differ, all rounding ties, in the images with a miss.
        traced: misses that vanish once torch is given the artifact's bits.
        decided: further misses that vanish once torch decodes the artifact's raw outputs: equal but for rounding (checked),
            they fall on two sides of a threshold in NMS, of detections or of proposals.
        cost: images compared, sizes and times.
    """

    torch_metrics: dict[str, float]
    runtime_metrics: dict[str, float]
    detections: int
    matched: int
    ties: int
    traced: int
    decided: int
    cost: Cost

    def __str__(self) -> str:
        head = f"{'':<12}{'AP':>8}{'AP50':>8}{'VOC AP50':>10}{Cost.HEAD}"
        rows = [
            f"{name:<12}{metrics['ap']:>8.4f}{metrics['ap50']:>8.4f}{metrics['voc_ap50_area']:>10.4f}{cells}"
            for (name, cells), metrics in zip(self.cost.rows(), (self.torch_metrics, self.runtime_metrics))
        ]
        share = self.matched / max(self.detections, 1)
        missed = self.detections - self.matched
        return "\n".join(
            [
                head,
                *rows,
                str(self.cost),
                f"parity: {self.matched} of {self.detections} detections with score >= {SCORE} matched ({share:.2%}); "
                f"{missed} missed: {self.traced} traced to {self.ties} activation bit(s) at a rounding tie, "
                f"{self.decided} to rounding at a threshold of NMS, {missed - self.traced - self.decided} unexplained",
            ]
        )


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of one box with many; 1 for the same box, also where clipping to the picture has left it no area."""
    same = (np.abs(boxes - box) <= 1e-3).all(axis=1)
    return np.where(same, 1.0, overlaps(box[None].astype(np.float64), boxes.astype(np.float64))[0])


def unmatched(reference: Detections, found: Detections) -> list[int]:
    """Indices of the reference's detections of score >= 0.05 that `found` lacks.

    Args:
        reference: detections of one image.
        found: those of the other net.
    """
    free = np.ones(len(found.boxes), dtype=bool)
    missing = []
    for i in np.flatnonzero(reference.scores >= SCORE):
        alike = free & (found.labels == reference.labels[i])
        alike &= np.abs(found.scores - reference.scores[i]) <= SCORE_GAP
        overlap = np.where(alike, _iou(reference.boxes[i], found.boxes), 0.0)
        if len(overlap) and overlap.max() >= IOU:
            free[overlap.argmax()] = False
        else:
            missing.append(int(i))
    return missing


class _TorchNet:
    """The torch net with the artifact's pre- and post-processing around it.

    Args:
        model: in eval mode, float32.
        session: whose resize rule to use.
    """

    def __init__(self, model: Detector, session: Session) -> None:
        self.model, self.canvas = model, Canvas(session)

    @torch.no_grad()
    def __call__(self, image: np.ndarray, run: Callable[[Tensor], Boxes] | None = None) -> Detections:
        """Detections of one picture; `run` takes the place of the model's forward and decoding."""
        x, placement = self.canvas(image)
        found = (run or self._detect)(x)
        boxes = placement.to_image(found.boxes.numpy()).astype(np.float32)
        return Detections(boxes, found.scores.numpy(), found.labels.numpy())

    def _detect(self, x: Tensor) -> Boxes:
        return self.model.decode(self.model(x), input_size(x))[0]


def _target(data: DetectionData, split: str) -> list[DetectionTarget]:
    loader = {"val": data.val_dataloader, "test": data.test_dataloader}[split]()
    return [target for batch in loader for target in batch.targets]


def compare_detectors(
    task: DetectionTask,
    session: Session,
    data: DetectionData,
    split: str,
    sheet: str | os.PathLike[str] | None = None,
    draw_from: float = 0.3,
) -> DetectionComparison:
    """Run a detector and its artifact over a split, one picture at a time; see `bnn_tasks.compare.compare`.

    Args:
        task: the trained task, in eval mode.
        session: the artifact, of the same classes.
        data: the data module, with the classes of training.
        split: ``val`` or ``test``.
        sheet: where to save a contact sheet of ground truth beside the artifact's detections; None saves none.
        draw_from: score from which a detection is drawn, in [0, 1].
    """
    if sheet is not None:
        check_sheet(sheet)
    model = copy.deepcopy(task.model).eval()
    net, written = _TorchNet(model, session), GraphWriter(model)
    of_torch, of_runtime = DetectionMetrics(task.classes), DetectionMetrics(task.classes)
    paths = {record.image_id: record.path for record in data.records(split)}
    counts = dict.fromkeys(("detections", "matched", "ties", "traced", "decided"), 0)
    times: list[tuple[float, float]] = []
    pictures: list[tuple[np.ndarray, np.ndarray]] = []
    for pair in side_by_side(
        _target(data, split), lambda target: read_image(paths[target.image_id]), net, lambda image: session([image])[0]
    ):
        target, image, reference, found = pair.item, pair.image, pair.torch, pair.runtime
        times.append(pair.milliseconds)
        for metrics, result in ((of_torch, reference), (of_runtime, found)):
            metrics.update(ImageDetections(target, result.boxes, result.scores, result.labels))
        missing = unmatched(reference, found)
        counts["detections"] += int((reference.scores >= SCORE).sum())
        counts["matched"] += int((reference.scores >= SCORE).sum()) - len(missing)
        if missing:
            ties, again = _with_runtime_bits(net, session, written, image)
            counts["ties"] += ties
            # With equal bits every detection must be matched: whatever was missed came from the ties alone.
            if ties and not unmatched(again, found):
                counts["traced"] += len(missing)
            elif not unmatched(_with_runtime_outputs(net, session, written, image), found):
                counts["decided"] += len(missing)
        if len(pictures) < 12:
            shown = found.scores >= draw_from
            truth = draw_boxes(image, target.image_boxes.numpy(), target.labels.numpy(), session.classes)
            drawn = draw_boxes(image, found.boxes[shown], found.labels[shown], session.classes, found.scores[shown])
            pictures.append((truth, drawn))
    if sheet is not None:
        Image.fromarray(contact_sheet(pictures)).save(sheet)
    return DetectionComparison(
        torch_metrics=of_torch.compute(),
        runtime_metrics=of_runtime.compute(),
        **counts,
        cost=Cost.of(model, session, times),
    )


def _with_runtime_bits(
    net: _TorchNet, session: Session, written: GraphWriter, image: np.ndarray
) -> tuple[int, Detections]:
    """Ties in one picture, and torch's detections once it is given the artifact's bits, and its proposals."""
    model = net.model
    with forced(model, session, written.sites) as forcing:

        def run(x: Tensor) -> Boxes:
            values = session.values(x[0].numpy())
            forcing.start(values)
            outputs: dict[str, list[Tensor]] = model(x)
            if isinstance(model, FasterRCNN):
                proposals, _ = runtime_regions(values, written.names)
                outputs["proposals"] = [proposals]
            return model.decode(outputs, input_size(x))[0]

        again = net(image, run)
        return forcing.ties, again


def _with_runtime_outputs(net: _TorchNet, session: Session, written: GraphWriter, image: np.ndarray) -> Detections:
    """Torch's decoding of the artifact's raw outputs, which are first checked to be torch's but for rounding."""
    model = net.model
    verify(model, session, written, net.canvas(image)[0])

    def run(x: Tensor) -> Boxes:
        if isinstance(model, FasterRCNN):
            proposals, found = runtime_regions(session.values(x[0].numpy()), written.names)
            return model.detections(proposals, found, input_size(x))[0]
        raw = session.forward(x.numpy())
        outputs = {name: [torch.from_numpy(level) for level in levels] for name, levels in raw.items()}
        return model.decode(outputs, input_size(x))[0]

    return net(image, run)
