"""The part of a session that runs: the program of vector kernels, or node by node where numba compiles nothing."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

from bnn_tasks.runtime.errors import GraphError, TooSmallError
from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.layouts import signs_to_bits
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.base import Context
from bnn_tasks.runtime.ops.binary import BinaryLayer, BinaryLinear
from bnn_tasks.runtime.ops.patches import BinaryPatches
from bnn_tasks.runtime.plan import (
    Plan,
    make_plan,
    node_tensors,
    prepared_bytes,
    schedule,
    smallest_size,
)
from bnn_tasks.runtime.prepared import Prepared
from bnn_tasks.runtime.program.executor import Executor, MetNaN

PLANS_KEPT = 64  # input sizes whose plan is remembered


class Engine:
    """A checked graph, ready to run on [H, W, C] images.

    Args:
        where: the file's name, for messages.
        graph: checked.
        tensors: of the file.
        threads: of the kernels, in range.
    """

    def __init__(self, where: str, graph: Graph, tensors: dict[str, np.ndarray], threads: int) -> None:
        self.where, self.graph, self.tensors = where, graph, tensors
        self._prepared = Prepared(tensors)
        self._locks: dict[int, threading.RLock] = {}  # by process
        self._plans: OrderedDict[tuple[int, int], Plan] = OrderedDict()
        compiled = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
        self.executor = Executor(graph, tensors, self._prepared, threads) if compiled else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One call at a time. After a fork a new lock: one that another thread held then is never given back."""
        with self._locks.setdefault(os.getpid(), threading.RLock()):
            yield

    @property
    def peak_bytes(self) -> int:
        """Weights at work and, for the largest declared input size, the most activation bytes alive at once."""
        sizes = [] if self.graph.resize is None else self.graph.resize["sizes"]
        weights = prepared_bytes(self.graph, self.tensors)
        return weights + max((self.plan(height, width).live_bytes for height, width in sizes), default=0)

    def plan(self, height: int, width: int) -> Plan:
        """The plan for an input size, remembered; ValueError where the network cannot run at it."""
        with self.alone():
            size = (height, width)
            if size not in self._plans:
                self._plans[size] = self._make_plan(height, width)
                if len(self._plans) > PLANS_KEPT:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(size)
            return self._plans[size]

    def _make_plan(self, height: int, width: int) -> Plan:
        try:
            return make_plan(self.graph, self.tensors, height, width)
        except TooSmallError as error:
            low = smallest_size(self.graph, self.tensors)
            raise ValueError(
                f"{self.where}: Expected an input of at least {low[0]}×{low[1]} px, but got {height}×{width}: {error}"
            ) from error
        except GraphError as error:
            raise ValueError(f"{self.where}: {error}") from error

    def run(self, image: np.ndarray, wanted: Iterable[str]) -> dict[str, Any]:
        """Wanted values for one [H, W, C] image of any strides, float32, or uint8 that stands for [0, 1].

        Raises:
            ValueError: a value without a sign, or boxes that are no numbers; names the node.
        """
        kinds = self.plan(image.shape[0], image.shape[1]).kinds
        try:
            with self.alone(), np.errstate(all="ignore"):  # overflow to inf is no event, as in torch
                if self.executor is not None:
                    try:
                        return self.executor.run(image, kinds, wanted)
                    except MetNaN:
                        pass  # node by node it comes out where, and how many
                return self.run_by_node(image, wanted)
        except GraphError as error:
            raise ValueError(f"{self.where}: {error}") from error

    def run_by_node(self, image: np.ndarray, wanted: Iterable[str]) -> dict[str, Any]:
        """What `run` gives, by the reference operations alone."""
        wanted = list(wanted)
        context = Context(image.shape[0], image.shape[1])
        if image.dtype == np.uint8:
            image = image.astype(np.float32) / np.float32(255)
        values: dict[str, Any] = {self.graph.input_name: np.ascontiguousarray(image)}
        for step in schedule(self.graph, wanted):
            node = step.node
            inputs = [values[v] for v in node.inputs]
            try:
                made = OPS[node.op].run(inputs, node.attrs, self._prepared.of(node), context)
            except GraphError as error:
                raise GraphError(f"node `{node.name}` ({node.op}): {error}") from error
            values.update(zip(node.outputs, made, strict=True))
            for name in step.free:
                del values[name]
        return {name: values[name] for name in wanted}

    def accumulate(self, node: Node, signs: np.ndarray) -> np.ndarray:
        """Raw accumulators of a binary node for int8 ±1, (C, H, W) or (C,); ValueError where they do not fit.

        Of packed patches, a tap outside is 0.
        """
        op = OPS[node.op]
        assert isinstance(op, BinaryLayer)
        linear, patches = isinstance(op, BinaryLinear), isinstance(op, BinaryPatches)
        if not isinstance(signs, np.ndarray) or signs.dtype != np.int8 or signs.ndim != (1 if linear else 3):
            raise ValueError(f"Expected `signs` to be int8 of shape {'(C,)' if linear else '(C, H, W)'}.")
        if not np.isin(signs, (-1, 0, 1) if patches else (-1, 1)).all():
            raise ValueError(f"Expected `signs` to hold -1 and +1 only{', and 0 outside' if patches else ''}.")
        kind = op.operand(signs.shape, node.attrs)
        try:
            op.infer([kind], node.attrs, node_tensors(node, self.tensors))
        except GraphError as error:
            raise ValueError(f"{self.where}: node `{node.name}`: {error}") from error
        bits = signs_to_bits(signs, kind)
        with self.alone():
            if self.executor is None or patches:
                acc = op.accumulate(bits, node.attrs, self._prepared.of(node))
            else:
                acc = self.executor.sums(node, bits, kind)
        return np.ascontiguousarray(np.moveaxis(acc, -1, 0))
