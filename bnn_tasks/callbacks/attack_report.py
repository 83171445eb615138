"""What attacks on a detector or a segmenter leave: attacks.json, the table, and a picture of it."""

from pathlib import Path

from bnn_tasks.callbacks.canvas import new_figure
from bnn_tasks.callbacks.files import write_json
from bnn_tasks.callbacks.test_report import TestReport
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
    axes.set(xlabel="ε · 255", ylabel=name, ylim=(0, None), xlim=(0, None))
    axes.legend(fontsize=7)
    figure.savefig(path)


class AttackReport(TestReport[AttackTask]):
    """Writes ``robustness/attacks.json``, ``attacks.txt`` and ``attacks.png`` after a test of `AttackTask`.

    Args:
        dirpath: folder; None is the trainer's ``default_root_dir``.
    """

    task = AttackTask

    def write(self, task: AttackTask, folder: Path) -> None:
        """See `TestReport`."""
        rows = [{"attack": row.attack, "eps_255": 255 * row.eps, "figures": row.figures} for row in task.rows]
        content = {
            "checkpoint": task.checkpoint,
            "batches": task.batches,
            "seed": task.seed,
            "clean": task.clean,
            "rows": rows,
        }
        write_json(folder / "attacks.json", content)
        (folder / "attacks.txt").write_text(task.table() + "\n")
        _draw(task, folder / "attacks.png")
        print(task.table())
