"""What the vector unit could do if memory cost nothing: register-only loops of the kernels' own operations."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd.ir import F32S, HALF, I64S, LANES, call, const, fma, integers, load, splat, store
from bnn_tasks.runtime.simd.target import vector_bytes

# Accumulators and as many weights must stay in registers, beside the input value and temporaries: of 32, or of 16.
CELLS = 12 if vector_bytes() == 64 else 3
SECONDS = 0.2
ROUNDS = 200  # short ones: the best is one that nothing interrupted


def _loop(vector: Any, advance: Any, step: Any, size: int) -> Any:
    """An intrinsic (memory, rounds): `CELLS` accumulations a round."""

    def codegen(b: Any, args: Any) -> Any:
        memory, rounds = args
        weights = [load(b, vector, b.add(memory, const(size * n)), size) for n in range(CELLS)]
        cells = [cgutils.alloca_once(b, vector) for _ in range(CELLS)]
        for cell in cells:
            b.store(ir.Constant(vector, None), cell)
        x = cgutils.alloca_once(b, vector)
        b.store(weights[0], x)
        with cgutils.for_range(b, rounds):
            value = b.load(x)
            for cell, weight in zip(cells, weights, strict=True):
                b.store(step(b, b.load(cell), value, weight), cell)
            b.store(advance(b, value), x)
        for n, cell in enumerate(cells):
            store(b, b.load(cell), b.add(memory, const(size * n)), size)

    return integers(2, codegen, types.void)


def _count(b: Any, cell: Any, x: Any, w: Any) -> Any:
    return b.add(cell, call(b, f"llvm.ctpop.v{HALF}i64", I64S, b.xor(x, w)))


xnor_loop = _loop(I64S, lambda b, x: b.add(x, splat(b, const(1), HALF)), _count, 64)
fma_loop = _loop(F32S, lambda b, x: x, lambda b, cell, x, w: fma(b, x, w, cell), 4 * LANES)


@kernel(nogil=True)
def run_xnor(memory: int, rounds: int) -> None:
    """Count mismatches."""
    xnor_loop(memory, rounds)


@kernel(nogil=True)
def run_fma(memory: int, rounds: int) -> None:
    """Multiply and add."""
    fma_loop(memory, rounds)


def _rate(run: Callable[[int, int], None], operations: int) -> float:
    memory = np.zeros(64 * CELLS + 64, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % 64
    run(start, 1)
    rounds, best = 1 << 16, 0.0
    for _ in range(ROUNDS):
        while True:
            begin = time.perf_counter()
            run(start, rounds)
            seconds = time.perf_counter() - begin
            if seconds > SECONDS / ROUNDS:
                break
            rounds *= 2
        best = max(best, rounds * operations / seconds)
    return best


def popcount_peak() -> float:
    """Binary operations a second of one core, 2 a multiply-add: xor, popcount and add in registers."""
    return _rate(run_xnor, CELLS * 2 * 64 * HALF)


def fma_peak() -> float:
    """Float operations a second of one core, 2 a multiply-add."""
    return _rate(run_fma, CELLS * 2 * LANES)
