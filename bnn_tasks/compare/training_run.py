"""A fit and its evaluation in a folder, done once: resumed where it was stopped, refused with other settings."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A config as a dictionary.

    Args:
        path: of the YAML file.

    Raises:
        ValueError: it is none.
        OSError: it cannot be read.
    """
    text = Path(path).read_text("utf-8")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"Expected {os.fspath(path)!r} to be a config, but it is no YAML: {error}.") from error
    if not isinstance(config, dict):
        raise ValueError(f"Expected {os.fspath(path)!r} to be a config, but it holds a {type(config).__name__}.")
    return config


@dataclass(frozen=True)
class Run:
    """One training: a folder with its settings, checkpoint, results and time.

    Attributes:
        name: for messages.
        folder: of the run.
    """

    name: str
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

    def train(self, config: Mapping[str, Any], overrides: Sequence[str], splits: Sequence[str]) -> None:
        """Fit and evaluate, unless that is done already; an interrupted fit goes on from its checkpoint.

        Args:
            config: of the training; whatever it says, the run's folder is the ``default_root_dir``.
            overrides: further arguments of the command line.
            splits: what to evaluate on after the fit: ``validate``, ``test``.

        Raises:
            ChildProcessError: a command failed or was ended by a signal; the message ends with the last lines of its output.
            BlockingIOError: one that outlived an earlier call still writes to the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(
                    f"Expected {self.folder} to be no other process's, but one is still training there. "
                    "Cure: wait until it ends, or stop it."
                ) from error
            self._train(config, overrides, splits, lock.fileno())

    def _train(self, config: Mapping[str, Any], overrides: Sequence[str], splits: Sequence[str], lock: int) -> None:
        path = self.folder / "base.yaml"
        path.write_text(yaml.safe_dump(dict(config)))
        words = ["--config", str(path), *overrides, "--trainer.default_root_dir", str(self.folder)]
        finished = self.folder / "seconds.json"
        if not finished.exists():
            earlier, started = self._seconds_done(), time.time()
            (self.folder / "attempt.json").write_text(json.dumps({"earlier": earlier, "started": started}))
            resume = ["--ckpt_path", str(self.checkpoint)] if self.checkpoint.exists() else []
            self._call(["fit", *words, *resume], lock)
            finished.write_text(json.dumps(earlier + time.time() - started))
        for verb in splits:
            if not (self.folder / f"{verb}.done").exists():
                self._call([verb, *words, "--ckpt_path", str(self.checkpoint)], lock)
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
            raise ChildProcessError(
                f"{words[0]} of {self.name} ended with status {done.returncode}; {log} ends with:\n{_tail(log)}"
            )

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
