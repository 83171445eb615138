"""What a test on corrupted pictures leaves: corruptions.json and bars."""

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.callbacks.corruption_bars import draw_corruptions
from bnn_tasks.callbacks.files import run_folder, write_json
from bnn_tasks.tasks.robustness import CorruptionTask


class CorruptionReport(Callback):
    """Writes ``robustness/corruptions.json`` (every score, mPC, rPC) and ``corruptions.png`` after a test of `CorruptionTask`.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__()
        self.dirpath = dirpath

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write.

        Raises:
            TypeError: the task is another one.
        """
        if not isinstance(pl_module, CorruptionTask):
            raise TypeError(f"Expected a CorruptionTask, but got a {type(pl_module).__name__}. Cure: another callback.")
        scores = pl_module.scores
        assert scores is not None
        content = {
            "checkpoint": pl_module.checkpoint,
            "figure": pl_module.figure,
            "batches": pl_module.batches,
            "seed": pl_module.seed,
            "clean": scores.clean,
            "mpc": scores.mean_performance(),
            "rpc": scores.relative_performance() if scores.clean else None,
            "by_severity": scores.by_severity(),
            "scores": {name: list(values) for name, values in scores.scores.items()},
        }
        folder = run_folder(trainer, self.dirpath) / "robustness"
        write_json(folder / "corruptions.json", content)
        draw_corruptions(scores, pl_module.figure, folder / "corruptions.png")
