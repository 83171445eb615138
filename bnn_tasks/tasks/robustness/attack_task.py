"""``bnn-tasks test`` with attacks on a detector or a segmenter: a table of figures by attack and ε."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, singledispatch
from pathlib import Path
from typing import Any

import torch

from bnn_tasks.robustness.attacks import PGD, Attack, RandomNoise, common_norm
from bnn_tasks.robustness.attacks.base import require_objective, require_values
from bnn_tasks.tasks.base import Task
from bnn_tasks.tasks.detection import DetectionTask
from bnn_tasks.tasks.robustness.checkpoint_evaluation import CheckpointEvaluation
from bnn_tasks.tasks.robustness.detection_figures import attacked_detection
from bnn_tasks.tasks.robustness.detection_objectives import DetectionObjective
from bnn_tasks.tasks.robustness.evaluation_task import require_gradients
from bnn_tasks.tasks.robustness.performance import compared, figures, judge, worst_case
from bnn_tasks.tasks.robustness.radii import check_reach, radii
from bnn_tasks.tasks.robustness.segmentation_figures import attacked_segmentation
from bnn_tasks.tasks.robustness.segmentation_objectives import SegmentationObjective
from bnn_tasks.tasks.segmentation import SegmentationTask

_log = logging.getLogger(__name__)

WORST = "worst case"


@singledispatch
def attacked(
    task: Task, batches: Iterable[Any], attack: Attack, eps: float, generator: torch.Generator
) -> Iterator[Any]:
    """The batches with attacked images.

    Args:
        task: in eval mode, on the batches' device.
        batches: of its data module.
        attack: a task's own (`GoalAttack`, `PixelAttack`), or any that raises the training loss.
        eps: radius, at the network's input size.
        generator: on the CPU.

    Raises:
        TypeError: the task is of another kind.
    """
    raise TypeError(
        f"Expected a detector or a segmenter, but got a {type(task).__name__}. Cure: RobustnessTask attacks classifiers."
    )


attacked.register(DetectionTask, attacked_detection)
attacked.register(SegmentationTask, attacked_segmentation)


def _check_suits(task: Task, attack: Attack) -> None:
    """Raise TypeError or ValueError where an attack cannot be given what there is to raise of a task, or would do nothing."""
    if isinstance(task, SegmentationTask):
        require_objective(attack, SegmentationObjective)
        return
    require_objective(attack, DetectionObjective)
    require_values(attack)  # of a detector no image is ever lost


@dataclass(frozen=True)
class AttackRow:
    """One attack at one ε.

    Attributes:
        attack: its name.
        eps: radius.
        figures: see `performance.figures`; the first is the one to read.
    """

    attack: str
    eps: float
    figures: dict[str, float]


class AttackTask(CheckpointEvaluation):
    """Attack a detector or a segmenter at the network's input; letterbox padding stays as it is.

    A detector's AP is the set's, so that there is no worst case image by image. A segmenter's is the attack that leaves a
    picture the lowest mIoU, and has a row of its own.

    Logs ``test/clean`` and ``test/ATTACK@ε·255``. The callback `AttackReport` writes the table. The trainer needs
    ``inference_mode: false``. A test that was cut short goes on from the attacks that it had finished, where settings, data
    and net are the same (`KeptResults`).

    Args:
        checkpoint: of ``bnn-tasks fit``.
        classes: class names; linked from the data by the command line.
        attacks: what is tried, all of one norm; None is PGD-20 on the training loss. `RandomNoise` of the same norm and size is
            always added, first.
        eps: ε in that norm, rising, in units of 1/255, 0.05 at least.
        batches: of the test split, >= 1, from its beginning; None is all.
        seed: of everything random.

    Attributes:
        clean: figures without an attack.
        rows: of the last test.

    Raises:
        ValueError: the file is no such checkpoint, its classes are not the data's, an argument is out of range, or an attack
            on a detector asks for labels alone.
        TypeError: the checkpoint or an attack is of another task.
    """

    def __init__(
        self,
        checkpoint: str,
        classes: list[str],
        attacks: list[Attack] | None = None,
        eps: Sequence[float] = (1.0, 4.0),
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        chosen = [PGD(20)] if attacks is None else attacks
        norm = common_norm(chosen).name if chosen else "linf"
        steps = radii("eps", eps, norm)
        super().__init__(checkpoint, classes, batches, seed)
        if not isinstance(self.task, DetectionTask | SegmentationTask):
            raise TypeError(
                f"Expected {checkpoint!r} to be of a detector or a segmenter, but it is of a {type(self.task).__name__}. "
                "Cure: RobustnessTask attacks classifiers."
            )
        for attack in chosen:
            _check_suits(self.task, attack)
        self.attacks: list[Attack] = [RandomNoise(norm=norm), *chosen]
        names = [*(attack.name for attack in self.attacks), WORST]
        if len(set(names)) < len(names):
            raise ValueError(
                f"Expected attacks with names of their own, but got {names[:-1]}. Noise and {WORST!r} are always there."
            )
        self.eps = steps
        self.clean: dict[str, float] = {}
        self.rows: list[AttackRow] = []

    def on_test_epoch_start(self) -> None:
        """Look at the trainer.

        Raises:
            ValueError: torch is in inference mode, in which no gradient exists, or there are several processes.
        """
        super().on_test_epoch_start()
        require_gradients()

    def on_test_epoch_end(self) -> None:
        """Attack."""
        loader = self.trainer.test_dataloaders
        kept = self.keep_results([Path(self.checkpoint), self.attacks, self.eps, self.seed, self._checked(loader)])
        self.clean = figures(self.task, judge(self.task, self.chosen(loader)))
        self.rows = []
        for eps in self.eps:
            judged = {}
            for attack in self.attacks:
                result = kept.get(f"{attack.name} at ε = {255 * eps:g}/255", partial(self._result, attack, eps))
                self.rows.append(AttackRow(attack.name, eps, result["figures"]))
                judged[attack.name] = result["compared"]
            if (worst := worst_case(self.task, judged)) is not None:
                self.rows.append(AttackRow(WORST, eps, figures(self.task, worst)))
        values = {"clean": next(iter(self.clean.values()))}
        values |= {f"{row.attack}@{255 * row.eps:g}": next(iter(row.figures.values())) for row in self.rows}
        self.log_dict({f"test/{name}": value for name, value in values.items()})

    def _checked(self, loader: Any) -> Iterator[Any]:
        """The chosen batches; raises ValueError at one whose images are smaller than an ε."""
        for batch in self.chosen(loader):
            check_reach("eps", self.eps, self.attacks[0].norm.name, batch.images)
            yield batch

    def _result(self, attack: Attack, eps: float) -> dict[str, Any]:
        """Of one attack at one ε."""
        generator = torch.Generator().manual_seed(self.seed)
        batches = attacked(self.task, self.chosen(self.trainer.test_dataloaders), attack, eps, generator)
        pictures = judge(self.task, batches)
        found = figures(self.task, pictures)
        name, value = next(iter(found.items()))
        _log.info("%s at ε = %g/255: %s %.3f", attack.name, 255 * eps, name, value)
        return {"figures": found, "compared": compared(self.task, pictures)}

    def table(self) -> str:
        """Figures by attack and ε."""
        names = list(self.clean)
        wide = max(len(name) for name in names) + 2
        lines = [f"{'':<34}{'ε·255':>7}" + "".join(f"{name:>{wide}}" for name in names)]
        lines.append(f"{'clean':<34}{'':>7}" + "".join(f"{self.clean[name]:>{wide}.3f}" for name in names))
        for row in self.rows:
            figures = "".join(f"{row.figures[name]:>{wide}.3f}" for name in names)
            lines.append(f"{row.attack:<34}{255 * row.eps:>7g}{figures}")
        return "\n".join(lines)
