"""What a pooling window, or a place in a map, gives a block: one position's lanes at a time."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from bnn_tasks.runtime.simd.ir import F32, F32S, I64, LANES, const, integers, load, registers, splat, store
from bnn_tasks.runtime.simd.passes import UNIT

F64S = ir.VectorType(ir.DoubleType(), LANES)


def _read_places(context: Any, b: Any, signature: Any, args: Any) -> Any:
    """(block, positions, lanes, addresses): every position's lanes from the address of its pixel."""
    block, positions, lanes, addresses = args
    step = b.mul(lanes, const(4))
    with cgutils.for_range(b, positions) as p:
        source = load(b, I64, b.add(addresses, b.mul(p.index, const(8))), 8)
        to = b.add(block, b.mul(p.index, step))
        with cgutils.for_range(b, b.udiv(lanes, const(LANES))) as u:
            offset = b.mul(u.index, const(UNIT))
            store(b, load(b, F32S, b.add(source, offset), 4), b.add(to, offset), 4)
    return context.get_dummy_value()


read_places = integers(4, _read_places)


def _window(first: float, join: Any, finish: Any) -> Any:
    """An intrinsic (out, lanes, start, rows, row, columns, column, count): taps joined from row to row."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        out, lanes, start, rows, row, columns, column, count = args
        divisor = splat(b, b.sitofp(count, F32), LANES)
        with cgutils.for_range(b, b.udiv(lanes, const(LANES))) as u:
            offset = b.mul(u.index, const(UNIT))
            (cell,) = registers(b, F32S, 1)
            b.store(ir.Constant(F32S, [first] * LANES), cell)
            with cgutils.for_range(b, rows) as y:
                line = b.add(b.add(start, offset), b.mul(y.index, row))
                with cgutils.for_range(b, columns) as x:
                    value = load(b, F32S, b.add(line, b.mul(x.index, column)), 4)
                    b.store(join(b, b.load(cell), value), cell)
            store(b, finish(b, b.load(cell), divisor), b.add(out, offset), 4)
        return context.get_dummy_value()

    return integers(8, codegen)


def _larger(b: Any, most: Any, value: Any) -> Any:
    """NaN wins."""
    return b.select(b.fcmp_unordered("ule", value, most), b.select(b.fcmp_unordered("uno", value, value), value, most), value)


window_max = _window(float("-inf"), _larger, lambda b, v, divisor: v)
window_mean = _window(0.0, lambda b, total, v: b.fadd(total, v), lambda b, v, divisor: b.fdiv(v, divisor))


def _mean(context: Any, b: Any, signature: Any, args: Any) -> Any:
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
    return context.get_dummy_value()


pixels_mean = integers(5, _mean)
