"""The same detector with other blocks in its parts: what each costs in average precision, over several seeds."""

import copy
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tasks.compare.training_run import Run, read_config

METRICS = ("ap", "ap50", "ap_small")  # and the AP of every class


@dataclass(frozen=True)
class Variant:
    """Which blocks stand in which part; the binary ones all binarise as ReActNet does, so that structure alone differs.

    Attributes:
        backbone: name of the backbone's block, without "Block".
        neck: name of the pyramid's unit, without "Unit".
        head: name of the towers' unit, without "Unit".
        teacher: name of the variant of the same seed that is imitated; empty for none.
    """

    backbone: str
    neck: str
    head: str
    teacher: str = ""


VARIANTS: dict[str, Variant] = {
    "real": Variant("Real", "Real", "Real"),
    "plain": Variant("Plain", "Plain", "Plain"),
    "bireal": Variant("BiReal", "BiReal", "BiReal"),
    "react": Variant("ReAct", "ReAct", "ReAct"),
    "local": Variant("Local", "ReAct", "ReAct"),
    "local_distilled": Variant("Local", "ReAct", "ReAct", "real"),
    "local_everywhere": Variant("Local", "Local", "Local"),
    "binary_backbone": Variant("Local", "Real", "Real"),
    "binary_neck": Variant("Real", "ReAct", "Real"),
    "binary_head": Variant("Real", "Real", "ReAct"),
}
METHOD = "react"

# What the student imitates: the pyramid's channels and the twin's scores and boxes.
TERMS: list[dict[str, Any]] = [{"class_path": "PyramidImitation"}, {"class_path": "ResponseImitation"}]


def config_of(base: Mapping[str, Any], variant: Variant, seed: int, teacher: Path) -> dict[str, Any]:
    """The base config with a variant's parts.

    Args:
        base: a RetinaNet's config.
        variant: the parts.
        seed: of weights, order and augmentation.
        teacher: checkpoint of the imitated run, if any.
    """
    config = copy.deepcopy(dict(base))
    model = config["model"]["init_args"]["model"]["init_args"]
    for part, key, name in (
        ("backbone", "block", f"{variant.backbone}Block"),
        ("neck", "unit", f"{variant.neck}Unit"),
        ("head", "unit", f"{variant.head}Unit"),
    ):
        arguments = {} if name.startswith("Real") else {"method": METHOD}
        model[part]["init_args"][key] = {"class_path": name, "init_args": arguments}
    if variant.teacher:
        source = {"class_path": "CheckpointTeacher", "init_args": {"path": str(teacher)}}
        distillation = {"class_path": "Distillation", "init_args": {"teacher": source, "terms": TERMS}}
        config["model"]["init_args"]["auxiliary"] = [distillation]
    config["seed_everything"] = seed
    return config


def ablate(
    config: str | os.PathLike[str],
    out: str | os.PathLike[str],
    names: Sequence[str],
    seeds: Sequence[int],
    jobs: int = 1,
    overrides: Sequence[str] = (),
    splits: Sequence[str] = ("validate", "test"),
) -> str:
    """Train every variant with every seed and compare them.

    Args:
        config: of a RetinaNet; its blocks and units are replaced.
        out: folder; ``VARIANT_SEED`` is a run's, ``ablation.json`` has all results. What is done already is not done again, and
            must have been done with the same config and overrides.
        names: keys of ``VARIANTS``; a teacher's own variant is trained too.
        seeds: one run each.
        jobs: runs at the same time, >= 1.
        overrides: further arguments of every fit and evaluation, such as ``--trainer.max_epochs=20``.
        splits: verbs that evaluate: ``validate``, ``test``.

    Returns:
        The table, in Markdown.

    Raises:
        ValueError: an unknown variant, `config` is none, or runs in `out` that were trained with other settings.
        ChildProcessError: a training failed.
        BlockingIOError: one of an earlier call still goes on.
    """
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ValueError(f"Expected variants of {list(VARIANTS)}, but got {unknown}.")
    base = read_config(config)
    teachers = [VARIANTS[name].teacher for name in names if VARIANTS[name].teacher]
    ordered = list(dict.fromkeys([*teachers, *names]))
    runs = {(n, s): Run(f"{n}, seed {s}", Path(out) / f"{n}_{s}") for s in seeds for n in ordered}
    for run in runs.values():
        run.settle(base, overrides)
    with ThreadPoolExecutor(jobs) as pool:
        for with_teacher in (False, True):
            waiting = []
            for (name, seed), run in runs.items():
                variant = VARIANTS[name]
                if bool(variant.teacher) == with_teacher:
                    teacher = runs.get((variant.teacher, seed), run).checkpoint
                    waiting.append(pool.submit(run.train, config_of(base, variant, seed, teacher), overrides, splits))
            for future in waiting:
                future.result()
    results = {name: [runs[name, seed].result() for seed in seeds] for name in ordered}
    (Path(out) / "ablation.json").write_text(json.dumps(results, indent=1))
    return table(results, "test" if "test" in splits else "val")


def table(results: Mapping[str, Sequence[Mapping[str, Any]]], split: str) -> str:
    """Mean and standard deviation (of one run, n - 1) a variant, in Markdown.

    Args:
        results: variant -> what every seed gave.
        split: ``val`` or ``test``.
    """
    first = next(iter(results.values()))[0][split]["metrics"]
    classes = [name.removeprefix(f"{split}/") for name in first if name.startswith(f"{split}/ap/")]
    metrics = [*METRICS, *classes]
    titles = [metric.replace("ap/", "AP ").replace("ap", "AP") for metric in metrics]
    lines = [f"| variant | runs | {' | '.join(titles)} | minutes a run |", "|---" * (len(metrics) + 3) + "|"]
    for name, runs in results.items():
        cells = []
        for metric in metrics:
            values = np.array([run[split]["metrics"][f"{split}/{metric}"] for run in runs], np.float64)
            spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.4f}{spread}")
        minutes = np.mean([run["seconds"] for run in runs]) / 60
        lines.append(f"| {name} | {len(runs)} | {' | '.join(cells)} | {minutes:.1f} |")
    return "\n".join(lines)
