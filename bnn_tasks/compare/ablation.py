"""The same detector with other blocks in its parts: what each costs in average precision, over several seeds."""

import copy
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

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


def config_of(base: Mapping[str, Any], variant: Variant, seed: int, folder: Path, teacher: Path) -> dict[str, Any]:
    """The base config with a variant's parts.

    Args:
        base: a RetinaNet's config.
        variant: the parts.
        seed: of weights, order and augmentation.
        folder: of the run.
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
    config["trainer"]["default_root_dir"] = str(folder)
    return config


@dataclass(frozen=True)
class Run:
    """One training: a folder with its settings, checkpoint, results and time.

    Attributes:
        name: of the variant.
        seed: of the run.
        folder: of the run.
    """

    name: str
    seed: int
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """What the fit leaves."""
        return self.folder / "checkpoints" / "last.ckpt"

    def settle(self, base: Mapping[str, Any], overrides: Sequence[str]) -> None:
        """Keep the settings in ``run.json``, or hold them against those that are there.

        Args:
            base: the base config.
            overrides: further arguments of the command line.

        Raises:
            ValueError: the folder's training has others.
        """
        path, settings = (
            self.folder / "run.json",
            json.loads(json.dumps({"config": base, "overrides": list(overrides)})),
        )
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings, indent=1))
            return
        earlier, now = (_flat(one) for one in (json.loads(path.read_text()), settings))
        if changed := sorted(name for name in earlier | now if earlier.get(name) != now.get(name)):
            told = [f"{name} {now.get(name, 'missing')} (not {earlier.get(name, 'missing')})" for name in changed[:3]]
            raise ValueError(
                f"Expected {self.folder} to be trained with these settings, but got {', '.join(told)}"
                f"{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}. Cure: another folder `out`."
            )

    def train(self, base: Mapping[str, Any], teacher: Path, overrides: Sequence[str], splits: Sequence[str]) -> None:
        """Fit and evaluate, unless that is done already; an interrupted fit goes on from its checkpoint.

        Args:
            base: the base config.
            teacher: checkpoint of the imitated run, if any.
            overrides: further arguments of the command line.
            splits: what to evaluate on after the fit: ``validate``, ``test``.

        Raises:
            RuntimeError: a command failed; the message ends with the last lines of its output. Or one that outlived an earlier
                call still writes to the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(
                    f"Expected {self.folder} to be no other process's, but one is still training there. "
                    "Cure: wait until it ends, or stop it."
                ) from error
            self._train(base, teacher, overrides, splits, lock.fileno())

    def _train(
        self, base: Mapping[str, Any], teacher: Path, overrides: Sequence[str], splits: Sequence[str], lock: int
    ) -> None:
        path = self.folder / "base.yaml"
        path.write_text(yaml.safe_dump(config_of(base, VARIANTS[self.name], self.seed, self.folder, teacher)))
        finished = self.folder / "seconds.json"
        if not finished.exists():
            earlier, started = self._seconds_done(), time.time()
            (self.folder / "attempt.json").write_text(json.dumps({"earlier": earlier, "started": started}))
            resume = ["--ckpt_path", str(self.checkpoint)] if self.checkpoint.exists() else []
            self._call(["fit", "--config", str(path), *overrides, *resume], lock)
            finished.write_text(json.dumps(earlier + time.time() - started))
        for verb in splits:
            if not (self.folder / f"{verb}.done").exists():
                self._call([verb, "--config", str(path), *overrides, "--ckpt_path", str(self.checkpoint)], lock)
                (self.folder / f"{verb}.done").touch()

    def _seconds_done(self) -> float:
        """What interrupted attempts took up to the checkpoint that the next goes on from; what came after it is done anew."""
        attempt = self.folder / "attempt.json"
        if not (attempt.exists() and self.checkpoint.exists()):
            return 0.0
        last = json.loads(attempt.read_text())
        done: float = last["earlier"] + max(self.checkpoint.stat().st_mtime - last["started"], 0.0)
        return done

    def _call(self, words: list[str], lock: int) -> None:
        log = self.folder / f"{words[0]}.log"
        with log.open("a") as file:
            done = subprocess.run(
                [sys.executable, "-m", "bnn_tasks", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ,
                pass_fds=(lock,),  # which the command then holds, even if this process is killed
            )
        if done.returncode:
            raise RuntimeError(f"{words[0]} of {self.name}, seed {self.seed}, failed; {log} ends with:\n{_tail(log)}")

    def result(self) -> dict[str, Any]:
        """``results.json``, and the seconds of the fit."""
        results: dict[str, Any] = json.loads((self.folder / "results.json").read_text())
        results["seconds"] = json.loads((self.folder / "seconds.json").read_text())
        return results


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists as dotted names and plain values; what is empty is a value."""
    if not value or not isinstance(value, dict | list):
        return {name: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    flat: dict[str, Any] = {}
    for key, one in pairs:
        flat |= _flat(one, f"{name}.{key}" if name else str(key))
    return flat


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


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
        ValueError: an unknown variant, or runs in `out` that were trained with other settings.
        RuntimeError: a training failed.
    """
    if unknown := [name for name in names if name not in VARIANTS]:
        raise ValueError(f"Expected variants of {list(VARIANTS)}, but got {unknown}.")
    base = yaml.safe_load(Path(config).read_text())
    teachers = [VARIANTS[name].teacher for name in names if VARIANTS[name].teacher]
    ordered = list(dict.fromkeys([*teachers, *names]))
    runs = {(n, s): Run(n, s, Path(out) / f"{n}_{s}") for s in seeds for n in ordered}
    for run in runs.values():
        run.settle(base, overrides)
    with ThreadPoolExecutor(jobs) as pool:
        for with_teacher in (False, True):
            waiting = [
                pool.submit(run.train, base, runs.get((teacher, run.seed), run).checkpoint, overrides, splits)
                for run in runs.values()
                if bool(teacher := VARIANTS[run.name].teacher) == with_teacher
            ]
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
