"""What a pooling window, or a place in a map, gives a block, and a row of an image a map."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from bnn_tasks.runtime.simd.ir import F32, F32S, I32, I64, LANES, const, integers, load, registers, splat, store
from bnn_tasks.runtime.simd.passes import UNIT

F64S = ir.VectorType(ir.DoubleType(), LANES)


def _read_places(b: Any, args: Any) -> Any:
    """(block, positions, lanes, addresses): every position's lanes from the address of its pixel."""
    block, positions, lanes, addresses = args
    step = b.mul(lanes, const(4))
    with cgutils.for_range(b, positions) as p:
        source = load(b, I64, b.add(addresses, b.mul(p.index, const(8))), 8)
        to = b.add(block, b.mul(p.index, step))
        with cgutils.for_range(b, b.udiv(lanes, const(LANES))) as u:
            offset = b.mul(u.index, const(UNIT))
            store(b, load(b, F32S, b.add(source, offset), 4), b.add(to, offset), 4)


read_places = integers(4, _read_places)


def _window(first: float, join: Any, finish: Any) -> Any:
    """An intrinsic (out, lanes, start, rows, row, columns, column, count): taps joined from row to row.

    Args:
        first: what every lane starts from.
        join: emits one tap's part: (builder, lanes so far, value) -> lanes.
        finish: emits the end: (builder, lanes, count) -> values.
    """

    def pool(b: Any, args: Any, units: int, offset: Any) -> None:
        out, _, start, rows, row, columns, column, count = args
        cells = registers(b, F32S, units)
        for cell in cells:
            b.store(ir.Constant(F32S, [first] * LANES), cell)
        with cgutils.for_range(b, rows) as y:
            line = b.add(b.add(start, offset), b.mul(y.index, row))
            with cgutils.for_range(b, columns) as x:
                tap = b.add(line, b.mul(x.index, column))
                for n, cell in enumerate(cells):
                    b.store(join(b, b.load(cell), load(b, F32S, b.add(tap, const(UNIT * n)), 4)), cell)
        divisor = splat(b, b.sitofp(count, F32), LANES)
        for n, cell in enumerate(cells):
            store(b, finish(b, b.load(cell), divisor), b.add(b.add(out, offset), const(UNIT * n)), 4)

    def codegen(b: Any, args: Any) -> Any:
        lanes = args[1]
        with b.if_else(b.icmp_signed("==", lanes, const(4 * LANES))) as (whole, parts):
            with whole:
                pool(b, args, 4, const(0))
            with parts, cgutils.for_range(b, b.udiv(lanes, const(LANES))) as u:
                pool(b, args, 1, b.mul(u.index, const(UNIT)))

    return integers(8, codegen)


def _larger(b: Any, most: Any, value: Any) -> Any:
    """The larger one; NaN wins."""
    larger = b.select(b.fcmp_ordered(">", value, most), value, most)
    return b.select(b.fcmp_unordered("uno", value, value), value, larger)


window_max = _window(float("-inf"), _larger, lambda b, v, divisor: v)
window_mean = _window(0.0, lambda b, total, v: b.fadd(total, v), lambda b, v, divisor: b.fdiv(v, divisor))


def _mean(b: Any, args: Any) -> Any:
    """(out, lanes, start, count, pixel): mean over `count` pixels, summed in float64 and rounded once."""
    out, lanes, start, count, pixel = args
    divisor = splat(b, b.sitofp(count, ir.DoubleType()), LANES)
    with cgutils.for_range(b, b.udiv(lanes, const(LANES))) as u:
        offset = b.mul(u.index, const(UNIT))
        (cell,) = registers(b, F64S, 1)
        with cgutils.for_range(b, count) as p:
            value = load(b, F32S, b.add(b.add(start, offset), b.mul(p.index, pixel)), 4)
            b.store(b.fadd(b.load(cell), b.fpext(value, F64S)), cell)
        store(b, b.fptrunc(b.fdiv(b.load(cell), divisor), F32S), b.add(out, offset), 4)


pixels_mean = integers(5, _mean)


def _normalized_row(b: Any, args: Any) -> Any:
    """(out, step, row, units, mean, std): 16 pixels a unit of one channel, (x - mean) / std, each `step` bytes further."""
    out, step, row, units, mean, std = args
    means, stds = (splat(b, load(b, F32, a, 4), LANES) for a in (mean, std))
    with cgutils.for_range(b, units) as u:
        values = b.fdiv(b.fsub(load(b, F32S, b.add(row, b.mul(u.index, const(UNIT))), 4), means), stds)
        start = b.add(out, b.mul(u.index, b.mul(step, const(LANES))))
        for i in range(LANES):
            place = b.add(start, b.mul(step, const(i)))
            store(b, b.extract_element(values, ir.Constant(I32, i)), place, 4)


normalized_row = integers(6, _normalized_row)
