"""The artifact in the runtime of this package."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnn_tasks.bench.material import Net, read_examples, to_float
from bnn_tasks.bench.peers.base import Contender
from bnn_tasks.runtime import Session


def open_ours(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """A session: `forward` on a tensor, or a call on a picture for a detector.

    Args:
        net: its material is ready.
        threads: of the session.
        options: none.
    """
    session = Session(net.artifact, threads)
    examples = read_examples(net)
    fed = [np.ascontiguousarray(to_float(x).transpose(2, 0, 1)[None]) for x in examples]
    if net.detector:
        return Contender(lambda index: session([examples[index]]), list)
    return Contender(lambda index: session.forward(fed[index]), list)


def open_steps(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """The same, timed inside the session: the fused steps alone, maps in the runtime's own layout.

    Args:
        net: its material is ready.
        threads: of the session.
        options: none.
    """
    from bnn_tasks.runtime.program import timing

    session = Session(net.artifact, threads)

    def measure(seconds: float) -> list[float]:
        total = _sum(timing.time_steps(session, *net.size, 3))
        return [_sum(timing.time_steps(session, *net.size, max(3, int(seconds / max(total, 1e-6)))))]

    return Contender(lambda index: measure(0), list, {"timed": "the fused steps alone"}, measure)


def _sum(steps: Any) -> float:
    return float(sum(step.seconds for step in steps))
