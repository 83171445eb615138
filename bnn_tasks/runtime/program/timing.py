"""Where the time of a network goes, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from bnn_tasks.runtime.kinds import BitMap, Kind
from bnn_tasks.runtime.layouts import signs_to_bits
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.plan import node_tensors
from bnn_tasks.runtime.program.executor import Executor
from bnn_tasks.runtime.program.program import Lone, Program, Run
from bnn_tasks.runtime.program.steps import BitPoolStep, ClassMapStep, FusedStep, JoinStep
from bnn_tasks.runtime.session import Session
from bnn_tasks.runtime.simd.peak import fma_peak, popcount_peak

__all__ = ["StepTime", "fma_peak", "popcount_peak", "time_maps", "time_steps", "time_sums"]


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
    plan, executor, wanted = session.plan(height, width), _executor(session), session.graph.results or session.outputs
    program = executor.program(height, width, plan.kinds, wanted)
    items = program.singly()
    image = _noise(height, width, session.graph.channels)
    with session.engine.alone():
        executor.run_timed(image, plan.kinds, wanted, items)
        rounds = [executor.run_timed(image, plan.kinds, wanted, items) for _ in range(repeats)]
    made = []
    for item, times in zip(items, zip(*rounds, strict=True), strict=True):
        name, kind, operations = _label(session, program, item)
        made.append(StepTime(name, kind, median(times), *operations))
    return made


def _label(session: Session, program: Program, item: Run | Lone) -> tuple[str, str, tuple[int, int]]:
    """Name and kind of an item that is one step, and its binary and float operations."""
    if isinstance(item, Lone):
        return item.node.name, item.node.op, (0, 0)
    step = program.labels[item.first]
    if step is None:
        return "image", "image", (0, 0)
    if isinstance(step, BitPoolStep):
        return step.pool.name, "max_pool2d on bits", (0, 0)
    if isinstance(step, ClassMapStep):
        return step.resize.name, f"{step.resize.op} + {step.argmax.op}", (0, 0)
    if isinstance(step, JoinStep):
        return step.concat.name, f"{step.concat.op} of {step.source}", (0, 0)
    return step.nodes[0].name, " + ".join(node.op for node in step.nodes), _operations(session, step, program.kinds)


def time_maps(session: Session, height: int, width: int, repeats: int = 20) -> float:
    """Time a network without the reading of its image: from the map in memory to its raw outputs there, in one call.

    Args:
        session: a network all of whose nodes have kernels.
        height: of the input, pixels.
        width: of the input, pixels.
        repeats: how often.

    Returns:
        Seconds, median.

    Raises:
        ValueError: as `time_steps`, or a node has no kernel.
    """
    kinds, executor, wanted = session.plan(height, width).kinds, _executor(session), session.outputs
    program = executor.program(height, width, kinds, wanted)
    if len(program.items) > 1:
        raise ValueError(
            "Expected a network all of whose nodes have kernels, but some run by their reference operation."
        )
    image = _noise(height, width, session.graph.channels)
    items: list[Run | Lone] = [Run(0, 1), Run(1, len(program.steps))]
    with session.engine.alone():
        executor.run_timed(image, kinds, wanted, items)
        return median(executor.run_timed(image, kinds, wanted, items)[1] for _ in range(repeats))


def time_sums(session: Session, node_name: str, height: int, width: int, repeats: int = 20) -> float:
    """Time a binary convolution from packed signs in memory to its integer sums there.

    Args:
        session: the network.
        node_name: of a binary convolution.
        height: of the layer's input, pixels.
        width: of the layer's input, pixels.
        repeats: how often.

    Returns:
        Seconds, median.

    Raises:
        ValueError: as `time_steps`.
    """
    executor = _executor(session)
    node = next(node for node in session.nodes if node.name == node_name)
    kind = BitMap(node.attrs["channels"], node.attrs["groups"], height, width)
    signs = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (kind.channels, height, width))
    seconds: list[float] = []
    for _ in range(repeats + 1):
        with session.engine.alone():
            executor.sums(node, signs_to_bits(signs, kind), kind, seconds)
    return median(seconds[1:])


def _executor(session: Session) -> Executor:
    if session.engine.executor is None:
        raise ValueError("Expected compiled kernels, but NUMBA_DISABLE_JIT is set.")
    return session.engine.executor


def _noise(height: int, width: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, channels), dtype=np.float32)


def _operations(session: Session, step: FusedStep, kinds: Mapping[str, Kind]) -> tuple[int, int]:
    """Binary and float operations of the layer that a step starts with, 2 a multiply-add."""
    node = step.nodes[0]
    op = OPS[node.op]
    if not op.layer:
        return 0, 0
    tensors = node_tensors(node, session.engine.tensors)
    cost = 2 * op.cost([kinds[v] for v in node.inputs], [kinds[v] for v in node.outputs], node.attrs, tensors)
    return (cost, 0) if op.binary else (0, cost)
