"""What a test on corrupted pictures leaves: corruptions.json and bars."""

from pathlib import Path

from bnn_tasks.callbacks.corruption_bars import draw_corruptions
from bnn_tasks.callbacks.files import write_json
from bnn_tasks.callbacks.test_report import TestReport
from bnn_tasks.tasks.robustness import CorruptionTask


class CorruptionReport(TestReport[CorruptionTask]):
    """Writes ``robustness/corruptions.json`` (every score, mPC, rPC), ``.txt`` and ``.png`` after a test of `CorruptionTask`.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    task = CorruptionTask

    def write(self, task: CorruptionTask, folder: Path) -> None:
        """See `TestReport`."""
        scores = task.scores
        assert scores is not None
        content = {
            "checkpoint": task.checkpoint,
            "figure": task.figure,
            "batches": task.batches,
            "seed": task.seed,
            **scores.to_json(),
        }
        write_json(folder / "corruptions.json", content)
        (folder / "corruptions.txt").write_text(task.table() + "\n")
        print(task.table())
        draw_corruptions(scores, task.figure, folder / "corruptions.png")
