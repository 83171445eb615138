"""A classifier beside its artifact on real images: accuracy, equal labels, size, time."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnn_tasks.compare.canvas import Canvas
from bnn_tasks.compare.cost import Cost, side_by_side
from bnn_tasks.compare.sheet import check_sheet
from bnn_tasks.data import ClassificationData
from bnn_tasks.export.trace import GraphWriter
from bnn_tasks.export.verify import forced
from bnn_tasks.models import ImageClassifier
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.captions import captioned, picture_grid
from bnn_tasks.tasks import ClassificationMetrics, ClassificationTask

SHOWN = 24  # pictures on the sheet


@dataclass(frozen=True)
class ClassificationComparison:
    """What the two gave on one split.

    Attributes:
        torch_metrics: of the torch net, as `ClassificationMetrics`.
        runtime_metrics: of the artifact.
        agreed: images to which both give the same label.
        ties: activation bits that differ, all rounding ties, in the others.
        traced: images whose labels agree once torch is given the artifact's bits.
        cost: images compared, sizes and times.
    """

    torch_metrics: dict[str, float]
    runtime_metrics: dict[str, float]
    agreed: int
    ties: int
    traced: int
    cost: Cost

    def __str__(self) -> str:
        names = [name for name in ("top1", "top5") if name in self.torch_metrics]
        head = f"{'':<12}" + "".join(f"{name:>8}" for name in names) + Cost.HEAD
        rows = [
            f"{name:<12}" + "".join(f"{metrics[key]:>8.4f}" for key in names) + cells
            for (name, cells), metrics in zip(self.cost.rows(), (self.torch_metrics, self.runtime_metrics))
        ]
        other = self.cost.images - self.agreed
        return "\n".join(
            [
                head,
                *rows,
                str(self.cost),
                f"parity: the same label for {self.agreed} of {self.cost.images} images "
                f"({self.agreed / self.cost.images:.2%}); {other} differ: {self.traced} traced to {self.ties} activation "
                f"bit(s) at a rounding tie, {other - self.traced} unexplained",
            ]
        )


class _TorchNet:
    """The torch net with the artifact's way to its input in front.

    Args:
        model: in eval mode, float32.
        session: the artifact, whose resize rule to use.
    """

    def __init__(self, model: ImageClassifier, session: Session) -> None:
        self.model, self.session, self.canvas = model, session, Canvas(session)
        self.sites = GraphWriter(model).sites

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Probabilities (K,) of one picture."""
        x, _ = self.canvas(image)
        probabilities: np.ndarray = self.model.decode(self.model(x))[0].numpy()
        return probabilities

    def with_runtime_bits(self, image: np.ndarray) -> tuple[int, np.ndarray]:
        """Ties in one picture, and torch's probabilities once it is given the artifact's bits."""
        x, _ = self.canvas(image)
        with forced(self.model, self.session, self.sites) as forcing:
            forcing.start(self.session.values(x[0].numpy()))
            probabilities = self(image)
            return forcing.ties, probabilities


def compare_classifiers(
    task: ClassificationTask,
    session: Session,
    data: ClassificationData,
    split: str,
    sheet: str | os.PathLike[str] | None = None,
) -> ClassificationComparison:
    """Run a classifier and its artifact over a split, one picture at a time; see `bnn_tasks.compare.compare`.

    Args:
        task: the trained task, in eval mode.
        session: the artifact, of the same classes.
        data: the data module, with the classes of training.
        split: ``val`` or ``test``.
        sheet: where to save a sheet of pictures with true class and the artifact's; None saves none.
    """
    if sheet is not None:
        check_sheet(sheet)
    net = _TorchNet(copy.deepcopy(task.model).eval(), session)
    of_torch, of_runtime = ClassificationMetrics(task.classes), ClassificationMetrics(task.classes)
    pictures = data.pictures(split)
    wanted = set(np.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).round().astype(int).tolist())
    times: list[tuple[float, float]] = []
    drawn: list[np.ndarray] = []
    agreed = ties = traced = 0
    for pair in side_by_side(range(len(pictures)), pictures.read, net, lambda image: session([image])[0]):
        index, image, reference, found = pair.item, pair.image, pair.torch, pair.runtime
        label = pictures.samples[index].label
        times.append(pair.milliseconds)
        for metrics, probabilities in ((of_torch, reference), (of_runtime, found.probabilities)):
            metrics.update(_row(probabilities), torch.tensor([label]))
        if reference.argmax() == found.label:
            agreed += 1
        else:
            bits, again = net.with_runtime_bits(image)
            ties += bits
            traced += int(bits > 0 and again.argmax() == found.label)
        if index in wanted:
            drawn.append(_drawn(image, label, found.label, task.classes))
    if sheet is not None:
        Image.fromarray(picture_grid(drawn)).save(sheet)
    return ClassificationComparison(
        torch_metrics=of_torch.compute(),
        runtime_metrics=of_runtime.compute(),
        agreed=agreed,
        ties=ties,
        traced=traced,
        cost=Cost.of(net.model, session, times),
    )


def _row(probabilities: np.ndarray) -> Tensor:
    return torch.from_numpy(probabilities)[None]


def _drawn(image: np.ndarray, label: int, found: int, classes: Sequence[str]) -> np.ndarray:
    colour = (0, 110, 40) if label == found else (190, 20, 20)
    return captioned(image, [f"true: {classes[label]}", f"exported: {classes[found]}"], colour)
