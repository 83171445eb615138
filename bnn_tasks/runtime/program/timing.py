"""Where the time of a network goes, step by step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from bnn_tasks.runtime.kinds import Kind
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.plan import node_tensors
from bnn_tasks.runtime.program.fuse import FusedStep
from bnn_tasks.runtime.program.program import Run
from bnn_tasks.runtime.session import Session
from bnn_tasks.runtime.simd.peak import fma_peak, popcount_peak

__all__ = ["StepTime", "fma_peak", "popcount_peak", "time_steps"]


@dataclass(frozen=True)
class StepTime:
    """One fused step.

    Attributes:
        name: of its first node.
        kind: its operations, joined by " + ".
        seconds: median.
        binary_ops: binary operations, 2 a multiply-add.
        float_ops: float operations of layers, 2 a multiply-add.
    """

    name: str
    kind: str
    seconds: float
    binary_ops: int
    float_ops: int


def time_steps(session: Session, height: int, width: int, repeats: int = 20) -> list[StepTime]:
    """Time every step of one image on its own, on noise; each runs warm.

    Args:
        session: the network.
        height: of the input, pixels.
        width: of the input, pixels.
        repeats: of each step.

    Returns:
        The steps in the order they run.

    Raises:
        ValueError: the network cannot run at this size, or runs without compiled kernels (NUMBA_DISABLE_JIT).
    """
    executor = session.engine.executor
    if executor is None:
        raise ValueError("Expected compiled kernels, but NUMBA_DISABLE_JIT is set.")
    plan = session.plan(height, width)
    image = np.random.default_rng(0).random((height, width, session.graph.channels), dtype=np.float32)
    wanted = session.graph.results or session.outputs
    times: dict[int, list[float]] = {}
    for _ in range(repeats):
        for index, seconds in enumerate(executor.run_timed(image, plan.kinds, wanted)):
            times.setdefault(index, []).append(seconds)
    program = executor.program(height, width, plan.kinds, wanted)
    labels: list[Sequence[str] | FusedStep] = []
    for item in program.items:
        if isinstance(item, Run):
            labels += [program.labels[i] or ("image",) for i in range(item.first, item.last)]
        else:
            labels.append((item.node.name, item.node.op))
    made = []
    for index, label in enumerate(labels):
        seconds = median(times[index])
        if not isinstance(label, FusedStep):
            made.append(StepTime(label[0], label[-1], seconds, 0, 0))
            continue
        binary, real = _operations(session, label, plan.kinds)
        kind = " + ".join(node.op for node in label.nodes)
        made.append(StepTime(label.nodes[0].name, kind, seconds, binary, real))
    return made


def _operations(session: Session, step: FusedStep, kinds: Mapping[str, Kind]) -> tuple[int, int]:
    """Binary and float operations of the layer that a step starts with, 2 a multiply-add."""
    node = step.nodes[0]
    op = OPS[node.op]
    if not op.layer:
        return 0, 0
    tensors = node_tensors(node, session.engine.tensors)
    cost = 2 * op.cost([kinds[v] for v in node.inputs], [kinds[v] for v in node.outputs], node.attrs, tensors)
    return (cost, 0) if op.binary else (0, cost)
