"""The parent's end of a contender's process."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnn_tasks.bench.material import Net

COMMAND = (sys.executable, "-m", "bnn_tasks.bench.worker")


class ContenderError(RuntimeError):
    """A contender's process ended, or never began; says how."""


class Process:
    """A contender in a process of its own; `with` ends it.

    Args:
        name: of the contender.
        nets: what it opens.
        alternatives: for each net, options to choose from.
        threads: that it may use.
        seconds: of the trial of each alternative; 0 for none.
        folder: for its specification and its errors.

    Attributes:
        opened: its answer for each net: `error`, or `options`, `open_seconds`, `first_seconds`, `about`, `agreement`.

    Raises:
        ContenderError: it ended before it had opened its nets.
    """

    def __init__(
        self,
        name: str,
        nets: Sequence[Net],
        alternatives: Sequence[Sequence[Any]],
        threads: int,
        seconds: float,
        folder: Path,
    ) -> None:
        jobs = [{"net": net.to_dict(), "alternatives": list(ways)} for net, ways in zip(nets, alternatives)]
        spec = folder / f"{name}.json"
        content = {"name": name, "threads": threads, "seconds": seconds, "nets": jobs}
        spec.write_text(json.dumps(content, indent=1), "utf-8")
        self._errors = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [*COMMAND, str(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            self.opened: list[dict[str, Any]] = self._answer()["opened"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def time(self, net: int, seconds: float) -> tuple[list[float], float | None]:
        """Seconds of each pass of one turn, and operations a second that its threads could do at most, if it says that.

        Args:
            net: its number.
            seconds: for the turn.

        Raises:
            ContenderError: the process ended.
        """
        answer = self._ask(f"time {net} {seconds}")
        return answer["seconds"], answer["limit"]

    def memory(self) -> tuple[int, int]:
        """Bytes it holds, and the most it has held.

        Raises:
            ContenderError: the process ended.
        """
        answer = self._ask("memory")
        return answer["resident"], answer["peak"]

    def close(self) -> None:
        """End it, if it has not ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:  # a broken pipe: it has ended
                continue
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ContenderError(self._end()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise ContenderError(self._end())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> str:
        """How it ended, and the last line it wrote to standard error."""
        status = self._process.wait()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"its process ended with {how}" + (f": {lines[-1]}" if lines else "")
