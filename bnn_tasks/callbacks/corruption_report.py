"""What a test on corrupted pictures leaves: corruptions.json and bars."""

from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnn_tasks.callbacks.files import run_folder, write_json
from bnn_tasks.tasks.robustness import CorruptionTask


def _draw(task: CorruptionTask, path: Path) -> None:
    assert task.scores is not None
    names = list(task.scores.scores)
    figure = Figure((7, 1.4 + 0.3 * len(names)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = np.arange(len(names))[::-1]
    for severity, shade in enumerate(np.linspace(0.35, 0.95, 5)):
        values = [task.scores.scores[name][severity] for name in names]
        offset = (2 - severity) * 0.16
        axes.barh(places + offset, values, 0.16, color=(shade, 0.3, 1 - shade), label=f"severity {severity + 1}")
    axes.axvline(task.scores.clean, color="black", linestyle=":", label="clean")
    axes.set_yticks(places, [name.replace("_", " ") for name in names], fontsize=8)
    mean, share = task.scores.mean_performance(), task.scores.relative_performance()
    axes.set(xlabel=task.figure, xlim=(0, 1), title=f"mPC {mean:.3f}, rPC {share:.1%}")
    axes.legend(fontsize=7, loc="lower right")
    figure.savefig(path)


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
        _draw(pl_module, folder / "corruptions.png")
