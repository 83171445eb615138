"""The threads that run a program's steps together.

They are Python threads inside one compiled call, which meet at a barrier of their own after every step: numba's parallel
loops, whose pools neither survive a fork nor serve two callers at once, are not used. Between calls the threads sleep.
"""

import os
import threading
from queue import SimpleQueue

import numpy as np

from bnn_tasks.runtime.program.memory import aligned
from bnn_tasks.runtime.simd.execute import ABANDONED, run_steps

Job = tuple[int, int, int, int, int] | None


class Crew:
    """A caller and `threads` - 1 helpers. One call at a time.

    Args:
        threads: at least 1.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._barrier = aligned(64).view(np.int64)
        self._process = -1
        self._jobs: list[SimpleQueue[Job]] = []
        self._helpers: list[threading.Thread] = []
        self._done: SimpleQueue[None] = SimpleQueue()

    def run(self, table: int, first: int, last: int, scratch: int, stride: int) -> None:
        """Run steps first, ..., last - 1 of a table; see `run_steps`."""
        if self.threads > 1:
            self._start()
        try:
            for jobs in self._jobs:
                jobs.put((table, first, last, scratch, stride))
            run_steps(table, first, last, 0, self.threads, scratch, stride, self._barrier.ctypes.data)
            for _ in self._jobs:
                self._done.get()
        except BaseException:  # an interrupt between two calls: the helpers must not wait for ever
            self._barrier[ABANDONED // 8] = 1
            helpers = self._helpers
            self.close()
            for helper in helpers:  # they may still write to the arena
                helper.join()
            raise

    def _start(self) -> None:
        """Start the helpers; anew after a fork, which they do not survive."""
        if self._process == os.getpid():
            return
        self._barrier, self._done = aligned(64).view(np.int64), SimpleQueue()
        self._jobs, self._helpers = [], []
        try:
            for index in range(1, self.threads):
                jobs: SimpleQueue[Job] = SimpleQueue()
                arguments = (index, self.threads, jobs, self._done, self._barrier)
                helper = threading.Thread(target=_serve, args=arguments, daemon=True, name=f"bnn_tasks-{index}")
                helper.start()
                self._helpers.append(helper)
                self._jobs.append(jobs)
        except RuntimeError as error:
            self.close()
            raise RuntimeError(f"Expected {self.threads} threads, but the system gives no more: {error}.") from error
        self._process = os.getpid()

    def close(self) -> None:
        """Let the helpers go."""
        for jobs in self._jobs:
            jobs.put(None)
        self._jobs, self._helpers, self._process = [], [], -1

    def __del__(self) -> None:
        """A session that is gone leaves no threads."""
        self.close()


def _serve(index: int, threads: int, jobs: "SimpleQueue[Job]", done: "SimpleQueue[None]", barrier: np.ndarray) -> None:
    while (job := jobs.get()) is not None:
        table, first, last, scratch, stride = job
        run_steps(table, first, last, index, threads, scratch, stride, barrier.ctypes.data)
        done.put(None)
