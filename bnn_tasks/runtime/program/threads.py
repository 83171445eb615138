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
NOBODY = -1


class Crew:
    """A caller and `threads` - 1 helpers. One call at a time.

    Args:
        threads: at least 1.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._barrier = aligned(64).view(np.int64)
        self._jobs: list[SimpleQueue[Job]] = []
        self._helpers: list[threading.Thread] = []
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._started = NOBODY  # process in which the helpers were started
        self._ready = NOBODY  # process in which they wait for a job

    def run(self, table: int, first: int, last: int, scratch: int, stride: int) -> None:
        """Run steps first, ..., last - 1 of a table; see `run_steps`."""
        if self.threads == 1:
            run_steps(table, first, last, 0, 1, scratch, stride, self._barrier.ctypes.data)
            return
        if self._ready != os.getpid():
            self._start()
        self._ready = NOBODY  # until all are back: who is interrupted in between leaves helpers that are not used again
        try:
            for jobs in self._jobs:
                jobs.put((table, first, last, scratch, stride))
            run_steps(table, first, last, 0, self.threads, scratch, stride, self._barrier.ctypes.data)
            errors = [error for error in (self._done.get() for _ in self._jobs) if error is not None]
        except BaseException:
            self._abandon()
            raise
        if errors:
            self._abandon()
            raise errors[0]
        self._ready = os.getpid()

    def _start(self) -> None:
        """Start the helpers; anew after a fork, which they do not survive."""
        self._abandon()
        self._barrier, self._done = aligned(64).view(np.int64), SimpleQueue()
        self._started = os.getpid()
        run_steps(0, 0, 0, 0, 1, 0, 0, self._barrier.ctypes.data)  # compiled before several threads ask for it
        try:
            for index in range(1, self.threads):
                jobs: SimpleQueue[Job] = SimpleQueue()
                self._jobs.append(jobs)
                arguments = (index, self.threads, jobs, self._done, self._barrier)
                helper = threading.Thread(target=_serve, args=arguments, daemon=True, name=f"bnn_tasks-{index}")
                helper.start()
                self._helpers.append(helper)
        except RuntimeError as error:
            self._abandon()
            raise RuntimeError(f"Expected {self.threads} threads, but the system gives no more: {error}.") from error
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Be rid of the helpers, wherever they are; they write to the arena no more."""
        self._barrier[ABANDONED // 8] = 1
        helpers = self._helpers if self._started == os.getpid() else []
        self.close()
        for helper in helpers:
            helper.join()

    def close(self) -> None:
        """Let the helpers go."""
        self._ready = NOBODY
        for jobs in self._jobs:
            jobs.put(None)
        self._jobs, self._helpers = [], []

    def __del__(self) -> None:
        """A session that is gone leaves no threads."""
        self.close()


def _serve(
    index: int,
    threads: int,
    jobs: "SimpleQueue[Job]",
    done: "SimpleQueue[BaseException | None]",
    barrier: np.ndarray,
) -> None:
    """Take part in calls until there is nothing more to do; an error is the caller's to raise."""
    while (job := jobs.get()) is not None:
        table, first, last, scratch, stride = job
        try:
            run_steps(table, first, last, index, threads, scratch, stride, barrier.ctypes.data)
        except BaseException as error:
            barrier[ABANDONED // 8] = 1
            done.put(error)
        else:
            done.put(None)
