"""A segmenter beside its artifact on real images: mIoU, equal pixels, size, time."""

import copy
import os
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnn_tasks.compare.canvas import Canvas, input_size
from bnn_tasks.compare.cost import Cost, side_by_side
from bnn_tasks.compare.sheet import check_sheet
from bnn_tasks.data import SegmentationData
from bnn_tasks.data.findings import DataError
from bnn_tasks.data.segmentation.faults import size_fault
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.export.verify import forced
from bnn_tasks.metrics.segmentation import SegmentationConfusion
from bnn_tasks.models import Segmenter
from bnn_tasks.models.resize import resize_bilinear
from bnn_tasks.runtime import Session, read_image
from bnn_tasks.runtime.class_colours import overlay
from bnn_tasks.runtime.draw import contact_sheet
from bnn_tasks.runtime.images import Size
from bnn_tasks.runtime.segmentation import to_picture
from bnn_tasks.tasks import SegmentationTask

GAP = 1e-3  # of a pixel's two best logits: below it, either may win by rounding
SHOWN = 12  # pictures on the sheet


@dataclass(frozen=True)
class SegmentationComparison:
    """What the two gave on one split; pixels are those of the pictures.

    Attributes:
        torch_metrics: of the torch net: ``miou`` and ``pixel_accuracy``, of one confusion matrix over the split.
        runtime_metrics: of the artifact.
        pixels: compared, void ones included.
        equal: those to which both give the same class.
        close: those of the others whose two best logits in torch are within `GAP` of each other.
        ties: activation bits that differ, all rounding ties, in the images with further ones.
        traced: further ones that are equal or close once torch is given the artifact's bits.
        cost: images compared, sizes and times.
    """

    torch_metrics: dict[str, float]
    runtime_metrics: dict[str, float]
    pixels: int
    equal: int
    close: int
    ties: int
    traced: int
    cost: Cost

    def __str__(self) -> str:
        head = f"{'':<12}{'mIoU':>8}{'pixels':>8}{Cost.HEAD}"
        rows = [
            f"{name:<12}{metrics['miou']:>8.4f}{metrics['pixel_accuracy']:>8.4f}{cells}"
            for (name, cells), metrics in zip(self.cost.rows(), (self.torch_metrics, self.runtime_metrics))
        ]
        other = self.pixels - self.equal
        return "\n".join(
            [
                head,
                *rows,
                str(self.cost),
                f"parity: the same class for {self.equal:,} of {self.pixels:,} pixels ({self.equal / self.pixels:.4%}); "
                f"{other:,} differ: {self.close:,} whose two best logits are within {GAP}, {self.traced:,} traced to "
                f"{self.ties} activation bit(s) at a rounding tie, {other - self.close - self.traced:,} unexplained",
            ]
        )


class _TorchNet:
    """The torch net with the artifact's way to its input in front.

    Args:
        model: in eval mode, float32.
        session: the artifact, whose resize rule to use.
    """

    def __init__(self, model: Segmenter, session: Session) -> None:
        self.model, self.session, self.canvas = model, session, Canvas(session)
        self.sites = GraphWriter(model).sites

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Classes (h, w) of one picture's pixels, and the logits, (1, K, h', w')."""
        x, placement = self.canvas(image)
        logits: Tensor = self.model(x)
        classes = self.model.decode(logits, input_size(x))[0].to(torch.uint8).numpy()
        return to_picture(classes, placement, _shape(image)), logits

    def gaps(self, image: np.ndarray, logits: Tensor) -> np.ndarray:
        """How far the best logit of every pixel of a picture is above the second, (h, w); infinite of one class."""
        x, placement = self.canvas(image)
        if logits.shape[1] == 1:
            return np.full(_shape(image), np.inf)
        best = resize_bilinear(logits, input_size(x)).topk(2, dim=1).values[0]
        return to_picture((best[0] - best[1]).numpy(), placement, _shape(image))

    def with_runtime_bits(self, image: np.ndarray) -> tuple[int, np.ndarray, Tensor]:
        """Ties in one picture, and torch's classes and logits once it is given the artifact's bits."""
        x, _ = self.canvas(image)
        with forced(self.model, self.session, self.sites) as forcing:
            forcing.start(self.session.values(x[0].numpy()))
            classes, logits = self(image)
            return forcing.ties, classes, logits


def _shape(image: np.ndarray) -> Size:
    return image.shape[0], image.shape[1]


def compare_segmenters(
    task: SegmentationTask,
    session: Session,
    data: SegmentationData,
    split: str,
    sheet: str | os.PathLike[str] | None = None,
) -> SegmentationComparison:
    """Run a segmenter and its artifact over a split, one picture at a time; see `bnn_tasks.compare.compare`.

    Args:
        task: the trained task, in eval mode.
        session: the artifact, of the same classes.
        data: the data module, with the classes of training.
        split: ``val`` or ``test``.
        sheet: where to save a contact sheet of true masks beside the artifact's; None saves none.
    """
    if sheet is not None:
        check_sheet(sheet)
    net = _TorchNet(copy.deepcopy(task.model).eval(), session)
    of_torch, of_runtime = (SegmentationConfusion(len(task.classes)) for _ in range(2))
    read_mask = data.coding(split).read
    counts = dict.fromkeys(("pixels", "equal", "close", "ties", "traced"), 0)
    times: list[tuple[float, float]] = []
    pictures: list[tuple[np.ndarray, np.ndarray]] = []
    for pair in side_by_side(
        data.records(split), lambda record: read_image(record.path), net, lambda image: session([image])[0].classes
    ):
        image, (reference, logits), found = pair.image, pair.torch, pair.runtime
        truth = read_mask(pair.item.mask)
        if fault := size_fault(pair.item.path, image.shape[:2], pair.item.mask, truth.shape):
            raise DataError(fault)
        times.append(pair.milliseconds)
        of_torch.update(reference, truth)
        of_runtime.update(found, truth)
        for name, count in _parity(net, image, reference, logits, found).items():
            counts[name] += count
        if len(pictures) < SHOWN:
            pictures.append((overlay(image, truth), overlay(image, found)))
    if sheet is not None:
        Image.fromarray(contact_sheet(pictures, ("ground truth", "exported net"))).save(sheet)
    return SegmentationComparison(
        _metrics(of_torch), _metrics(of_runtime), **counts, cost=Cost.of(net.model, session, times)
    )


def _parity(
    net: _TorchNet, image: np.ndarray, reference: np.ndarray, logits: Tensor, found: np.ndarray
) -> dict[str, int]:
    """Pixels of one picture, by how torch and the artifact agree on them."""
    different = reference != found
    counts = {"pixels": found.size, "equal": found.size - int(different.sum()), "close": 0, "ties": 0, "traced": 0}
    if different.any():
        far = different & (net.gaps(image, logits) > GAP)
        counts["close"] = int(different.sum() - far.sum())
        if far.any():
            counts["ties"], again, logits = net.with_runtime_bits(image)
            # Without a tie the same bits give the same logits: nothing would be explained.
            explained = far & ((again == found) | (net.gaps(image, logits) <= GAP))
            counts["traced"] = int(explained.sum()) if counts["ties"] else 0
    return counts


def _metrics(confusion: SegmentationConfusion) -> dict[str, float]:
    return {"miou": confusion.miou, "pixel_accuracy": confusion.pixel_accuracy}
