"""The artifact in the runtime of this package; of a single layer, its kernels alone."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnn_tasks.bench.material import Net, read_examples
from bnn_tasks.bench.peers.base import FEWEST, Contender
from bnn_tasks.runtime import Session
from bnn_tasks.runtime.ops import OPS


def open_ours(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """A session: `forward` on a tensor, of a segmenter its class map, a call on a picture for a detector, or the kernels alone
    for a single layer.

    Args:
        net: its material is ready.
        threads: of the session.
        options: none.
    """
    session = Session(net.artifact, threads)
    examples = read_examples(net)
    if net.layer:
        return _maps(session, net, threads)
    if net.detector:
        return Contender(lambda index: session([examples[index]]), list)
    fed = [np.ascontiguousarray(x.transpose(2, 0, 1)[None]) for x in examples]
    if session.graph.class_map is not None:
        return Contender(lambda index: session.class_map(fed[index][0]), list)
    return Contender(lambda index: session.forward(fed[index]), list)


def _maps(session: Session, net: Net, threads: int) -> Contender:
    from bnn_tasks.runtime.program import timing

    def timed(repeats: int) -> float:
        return timing.time_maps(session, *net.size, repeats)

    (node,) = (node for node in session.nodes if node.name == net.layer)
    limit = None if OPS[node.op].binary else lambda: threads * timing.fma_peak()
    about = {"timed": "float map to float map, channels last, the kernels in one call"}
    return Contender(lambda index: timed(1), list, about, lambda seconds: _measured(timed, seconds), limit=limit)


def open_sums(net: Net, threads: int, options: Mapping[str, Any]) -> Contender:
    """A binary layer without what is before and after it: packed signs in memory to integer sums there.

    Args:
        net: of a single binary layer; its material is ready.
        threads: of the session.
        options: none.
    """
    from bnn_tasks.runtime.program import timing

    session = Session(net.artifact, threads)

    def outputs() -> list[np.ndarray]:
        (node,) = (node for node in session.nodes if node.name == net.layer)
        values = session.values(np.ascontiguousarray(read_examples(net)[0].transpose(2, 0, 1)))
        return [session.accumulate(net.layer, values[node.inputs[0]])[None].astype(np.float32)]

    def timed(repeats: int) -> float:
        return timing.time_sums(session, net.layer, *net.size, repeats)

    return Contender(
        lambda index: timed(1),
        outputs,
        {"timed": "packed signs to integer sums"},
        lambda seconds: _measured(timed, seconds),
        limit=lambda: threads * timing.popcount_peak(),
    )


def _measured(timed: Callable[[int], float], seconds: float) -> list[float]:
    """The median that `timed(repeats)` gives, of as many passes as fit, with what lies untimed between them."""
    begin = time.perf_counter()
    timed(FEWEST)
    taken = (time.perf_counter() - begin) / FEWEST
    return [timed(max(FEWEST, int(seconds / taken)))]
