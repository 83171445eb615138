"""``bnn-tasks test`` with corruptions: a trained net of any task on corrupted pictures of the test split."""

from typing import Any

from bnn_tasks.robustness.corruptions import SEVERITIES, CorruptionScores, chosen_corruptions, corruption_library
from bnn_tasks.tasks.robustness.checkpoint_evaluation import CheckpointEvaluation
from bnn_tasks.tasks.robustness.performance import figures, judge


class CorruptionTask(CheckpointEvaluation):
    """The fifteen common corruptions at five severities (Hendrycks and Dietterich, 2019), on the pictures as they are read.

    Logs ``test/clean``, ``test/mpc`` (mean over corruptions and severities), ``test/rpc`` (its share of the clean figure) and
    ``test/CORRUPTION``; the figure is top-1, COCO's AP or mIoU. The callback `CorruptionReport` writes and draws all.

    Args:
        checkpoint: of ``bnn-tasks fit``: a classifier, a detector or a segmenter.
        classes: class names; linked from the data by the command line.
        corruptions: of `CORRUPTIONS`; None is all.
        batches: of the test split that are looked at, >= 1, from its beginning; None is all.
        seed: of everything random.

    Attributes:
        scores: of the last test.
        figure: name of the figure.

    Raises:
        ImportError: the corruption library is not installed.
        ValueError: the file is no such checkpoint, its classes are not the data's, or an argument is out of range.
    """

    def __init__(
        self,
        checkpoint: str,
        classes: list[str],
        corruptions: list[str] | None = None,
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        chosen = chosen_corruptions(corruptions)
        corruption_library()
        super().__init__(checkpoint, classes, batches, seed)
        self.corruptions = chosen
        self.figure = ""
        self.scores: CorruptionScores | None = None

    def _measure(self, loader: Any) -> float:
        """The figure on a loader's batches."""
        self.figure, value = next(iter(figures(self.task, judge(self.task, self.chosen(loader))).items()))
        return value

    def on_test_epoch_end(self) -> None:
        """Measure the clean pictures, then every corruption.

        Raises:
            ImportError: the corruption library is not installed.
            ValueError: a picture is too small; names the file.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        clean = self._measure(data.test_dataloader())
        scores = {
            name: [self._measure(data.corrupted_loader("test", name, severity, self.seed)) for severity in SEVERITIES]
            for name in self.corruptions
        }
        self.scores = CorruptionScores(clean, scores)
        values = {"clean": clean, "mpc": self.scores.mean_performance(), "rpc": self.scores.relative_performance()}
        values |= {name: sum(found) / len(found) for name, found in scores.items()}
        self.log_dict({f"test/{name}": value for name, value in values.items()})

    def table(self) -> str:
        """The figure by corruption and severity."""
        scores = self.scores
        assert scores is not None
        lines = [f"{self.figure + ', severity':<20}" + "".join(f"{severity:>8}" for severity in SEVERITIES)]
        for name, values in scores.scores.items():
            lines.append(f"{name:<20}" + "".join(f"{value:>8.3f}" for value in values))
        lines.append(f"{'mean':<20}" + "".join(f"{value:>8.3f}" for value in scores.by_severity()))
        lines.append(f"clean {scores.clean:.3f}, mPC {scores.mean_performance():.3f}")
        if scores.clean:
            lines[-1] += f", rPC {scores.relative_performance():.1%}"
        return "\n".join(lines)
