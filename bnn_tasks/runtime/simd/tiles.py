"""Register-blocked inner products: some positions × some output channels, accumulators in registers throughout.

Output channels are the lanes. One input value is broadcast against the weights of all channels of the tile, so there is
no horizontal sum; weights are read in the order they are stored. One generator serves packed signs (xor, popcount, add),
real values (fused multiply-add) and real values times packed signs (add or subtract).

A tile's window: `rows` rows, `row` bytes apart; in each `segments` runs, `segment` bytes apart; in each `count` values.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from bnn_tasks.runtime.simd.ir import (
    F32,
    F32S,
    I1S,
    I16,
    I64,
    call,
    const,
    fma,
    integers,
    load,
    registers,
    splat,
    store,
)
from bnn_tasks.runtime.simd.ir import I32 as INT32
from bnn_tasks.runtime.simd.target import vector_bytes

Accumulate = Callable[[Any, Any, Any, Any], Any]  # builder, accumulator, input value, weights -> accumulator


def _tile(
    positions: int, columns: int, width: int, item: Any, vector: Any, weight: Any, stride: int, step: Any, finish: Any
) -> Any:
    """An intrinsic (addresses, weights, rows, row, segments, segment, count, out, out_step) -> nothing.

    Args:
        positions: outputs at once.
        columns: vectors of output channels at once.
        width: bytes of an input value.
        item: its type.
        vector: type of an accumulator.
        weight: type of one vector of weights.
        stride: bytes of it.
        step: emits one accumulation.
        finish: what is stored of an accumulator.
    """

    def codegen(b: Any, args: Any) -> Any:
        addresses, w, rows, row, segments, segment, count, out, out_step = args
        starts = [load(b, I64, b.add(addresses, const(8 * m)), 8) for m in range(positions)]
        cells = [registers(b, vector, columns) for _ in range(positions)]
        at = cgutils.alloca_once(b, I64)
        b.store(w, at)
        with cgutils.for_range(b, rows) as y:
            in_row = b.mul(y.index, row)
            with cgutils.for_range(b, segments) as s:
                in_segment = b.add(in_row, b.mul(s.index, segment))
                bases = [b.add(start, in_segment) for start in starts]
                with cgutils.for_range(b, count) as k:
                    here = b.load(at)
                    offset = b.mul(k.index, const(width))
                    weights = [load(b, weight, b.add(here, const(n * stride)), stride) for n in range(columns)]
                    for m in range(positions):
                        value = load(b, item, b.add(bases[m], offset), width)
                        spread = splat(b, value, vector.count)
                        for n in range(columns):
                            b.store(step(b, b.load(cells[m][n]), spread, weights[n]), cells[m][n])
                    b.store(b.add(here, const(columns * stride)), at)
        for m in range(positions):
            place = b.add(out, b.mul(out_step, const(m)))
            for n in range(columns):
                value = finish(b, b.load(cells[m][n]))
                store(b, value, b.add(place, const(4 * n * vector.count)), 4)

    return integers(9, codegen)


def _mismatch(item: int, lanes: int) -> Accumulate:
    kind = ir.VectorType(ir.IntType(item), lanes)

    def step(b: Any, accumulator: Any, bits: Any, weights: Any) -> Any:
        return b.add(accumulator, call(b, f"llvm.ctpop.v{lanes}i{item}", kind, b.xor(bits, weights)))

    return step


def _signed(b: Any, accumulator: Any, x: Any, mask: Any) -> Any:
    return b.fadd(accumulator, b.select(b.bitcast(mask, I1S), x, b.fneg(x)))


def xnor_tile(positions: int, columns: int) -> Any:
    """Mismatches Σ popcount(x xor w), int32, of packed words; weights [rows, segments, count, columns · lanes].

    Words and lanes have `XNOR_BITS` bits each.
    """
    lanes = 8 * 64 // XNOR_BITS
    item = ir.IntType(XNOR_BITS)
    vector = ir.VectorType(item, lanes)
    sums = ir.VectorType(INT32, lanes)
    return _tile(
        positions,
        columns,
        XNOR_BITS // 8,
        item,
        vector,
        vector,
        64,
        _mismatch(XNOR_BITS, lanes),
        (lambda b, v: v) if XNOR_BITS == 32 else (lambda b, v: b.trunc(v, sums)),
    )


def float_tile(positions: int, columns: int) -> Any:
    """Sums Σ x·w, float32, rounded once a step; weights [rows, segments, count, columns · 16] float32."""
    return _tile(positions, columns, 4, F32, F32S, F32S, 64, fma_step, lambda b, v: v)


def fma_step(b: Any, accumulator: Any, x: Any, w: Any) -> Any:
    """One multiply-add."""
    return fma(b, x, w, accumulator)


def signed_tile(positions: int, columns: int) -> Any:
    """Sums Σ ±x, float32; weights [rows, segments, count, columns] uint16, a bit a channel, 1 is +1."""
    return _tile(positions, columns, 4, F32, F32S, I16, 2, _signed, lambda b, v: v)


if vector_bytes() == 64:  # 32 registers of 64 bytes
    XNOR_BITS = 32  # sums need no narrowing
    XNOR_SHAPES = ((4, 4), (5, 4), (8, 2), (12, 1))
    FLOAT_SHAPES = ((4, 4), (6, 4), (8, 3), (8, 2), (12, 1))
    SIGNED_SHAPES = ((4, 4), (8, 1))
else:  # 16 of 32 bytes, or 32 of 16
    XNOR_BITS = 64  # x86 counts the bits of 64 at once with one instruction less
    XNOR_SHAPES = ((4, 1), (3, 1), (2, 1), (1, 1))
    FLOAT_SHAPES = ((6, 1), (5, 1), (4, 1), (3, 1), (2, 1))
    SIGNED_SHAPES = ((4, 1), (2, 1))

xnor_0, xnor_1, xnor_2, xnor_3 = (xnor_tile(*shape) for shape in XNOR_SHAPES)
float_0, float_1, float_2, float_3, float_4 = (float_tile(*shape) for shape in FLOAT_SHAPES)
signed_0, signed_1 = (signed_tile(*shape) for shape in SIGNED_SHAPES)
