"""What attacks on a detector or a segmenter leave: attacks.json, the table, and a picture of it."""

import math
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from bnn_tasks.callbacks.canvas import new_figure
from bnn_tasks.callbacks.files import run_folder, write_json
from bnn_tasks.tasks.robustness import AttackTask


def _draw(task: AttackTask, path: Path) -> None:
    """The first figure by ε, a line an attack."""
    name = next(iter(task.clean))
    figure = new_figure(6.5, 4)
    axes = figure.add_subplot()
    for attack in dict.fromkeys(row.attack for row in task.rows):
        rows = [row for row in task.rows if row.attack == attack]
        eps = [0.0, *(255 * row.eps for row in rows)]
        axes.plot(eps, [task.clean[name], *(row.figures[name] for row in rows)], "o-", label=attack)
    axes.set(xlabel="ε · 255", ylabel=name, ylim=(0, 1), xlim=(0, None))
    axes.legend(fontsize=7)
    figure.savefig(path)


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: what no image has is null."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


class AttackReport(Callback):
    """Writes ``robustness/attacks.json``, ``attacks.txt`` and ``attacks.png`` after a test of `AttackTask`.

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
        if not isinstance(pl_module, AttackTask):
            raise TypeError(f"Expected an AttackTask, but got a {type(pl_module).__name__}. Cure: another callback.")
        folder = run_folder(trainer, self.dirpath) / "robustness"
        rows = [
            {"attack": row.attack, "eps_255": 255 * row.eps, "figures": _plain(row.figures)} for row in pl_module.rows
        ]
        content = {
            "checkpoint": pl_module.checkpoint,
            "batches": pl_module.batches,
            "seed": pl_module.seed,
            "clean": _plain(pl_module.clean),
            "rows": rows,
        }
        write_json(folder / "attacks.json", content)
        (folder / "attacks.txt").write_text(pl_module.table() + "\n")
        _draw(pl_module, folder / "attacks.png")
        print(pl_module.table())
