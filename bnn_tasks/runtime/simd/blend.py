"""Bilinear resizing: blocks of a larger map, and, where the classes alone are wanted, the class of every pixel.

The arithmetic is that of the operation `resize_bilinear`, rounding by rounding: u₀·a + u₁·b in both rows, then v₀, v₁.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.ir import (
    F32,
    F32S,
    I8,
    I16,
    I32,
    I32S,
    I64,
    LANES,
    call,
    const,
    integers,
    load,
    splat,
    store,
)
from bnn_tasks.runtime.simd.memory import copy, read_f32, read_i64, write_f32
from bnn_tasks.runtime.simd.passes import UNIT

NO_ROW = -1


def _weights(b: Any, at: Any) -> tuple[Any, Any]:
    """A pair of weights, each on all lanes."""
    first, second = (splat(b, load(b, F32, b.add(at, const(4 * i)), 4), LANES) for i in (0, 1))
    return first, second


def _mix(b: Any, x: Any, y: Any, weights: tuple[Any, Any]) -> Any:
    return b.fadd(b.fmul(x, weights[0]), b.fmul(y, weights[1]))


def _blend_pixel(b: Any, args: Any) -> Any:
    """(out, lanes, a, b, c, d, across, down): a pixel's lanes from its four neighbours; weights lie at the last two."""
    out, lanes, *corners, across, down = args
    u, v = _weights(b, across), _weights(b, down)
    with cgutils.for_range(b, b.udiv(lanes, const(LANES))) as unit:
        offset = b.mul(unit.index, const(UNIT))
        p, q, s, t = (load(b, F32S, b.add(corner, offset), 4) for corner in corners)
        store(b, _mix(b, _mix(b, p, q, u), _mix(b, s, t, u), v), b.add(out, offset), 4)


blend_pixel = integers(8, _blend_pixel)


@kernel()
def fill_bilinear(step: int, first: int, n: int, row: int, origin: int, scratch: int) -> None:
    """A chunk's pixels from a map of another size."""
    width, in_row, pixel = cell(step, r.WIDTH), cell(step, r.IN_WIDTH) * cell(step, r.PIXEL), cell(step, r.PIXEL)
    lanes, out = cell(step, r.LANES), scratch + r.BLOCK
    x = origin + 4 * cell(row, r.CHANNEL)
    rows, columns = cell(step, r.ROWS), cell(step, r.COLUMNS)
    down, across = cell(step, r.ROW_WEIGHTS), cell(step, r.COLUMN_WEIGHTS)
    for i in range(n):
        oy = (first + i) // width
        ox = first + i - oy * width
        above, below = x + read_i64(rows + 16 * oy) * in_row, x + read_i64(rows + 16 * oy + 8) * in_row
        left, right = read_i64(columns + 16 * ox) * pixel, read_i64(columns + 16 * ox + 8) * pixel
        to = out + 4 * lanes * i
        blend_pixel(to, lanes, above + left, above + right, below + left, below + right, across + 8 * ox, down + 8 * oy)


def _best_classes(b: Any, args: Any) -> Any:
    """(out, above, below, plane, classes, units, down): argmax of two blended rows, in bytes; returns how many are NaN.

    Rows lie class after class, `plane` bytes apart; `units` are of 16 pixels. The first of equal maxima wins.
    """
    out, above, below, plane, classes, units, down = args
    v = _weights(b, down)
    nans = cgutils.alloca_once_value(b, const(0))
    best, label, odd = cgutils.alloca_once(b, F32S), cgutils.alloca_once(b, I32S), cgutils.alloca_once(b, I16)
    with cgutils.for_range(b, units) as u:
        offset = b.mul(u.index, const(UNIT))
        b.store(ir.Constant(F32S, [float("-inf")] * LANES), best)
        b.store(ir.Constant(I32S, None), label)
        b.store(ir.Constant(I16, 0), odd)
        with cgutils.for_range(b, classes) as k:
            at = b.add(offset, b.mul(k.index, plane))
            score = _mix(b, load(b, F32S, b.add(above, at), 4), load(b, F32S, b.add(below, at), 4), v)
            better = b.fcmp_ordered(">", score, b.load(best))
            b.store(b.select(better, score, b.load(best)), best)
            b.store(b.select(better, splat(b, b.trunc(k.index, I32), LANES), b.load(label)), label)
            unordered = b.bitcast(b.fcmp_unordered("uno", score, score), I16)
            b.store(b.or_(b.load(odd), unordered), odd)
        count = call(b, "llvm.ctpop.i16", I16, b.load(odd))
        b.store(b.add(b.load(nans), b.zext(count, I64)), nans)
        narrow = b.trunc(b.load(label), ir.VectorType(I8, LANES))
        store(b, narrow, b.add(out, b.mul(u.index, const(LANES))), 1)
    return b.load(nans)


best_classes = integers(7, _best_classes, types.int64)


@kernel()
def widen(step: int, iy: int, to: int, plane: int) -> None:
    """A row of scores at the width of the class map, class after class; what fills up the last unit is 0."""
    width, pixel, classes = cell(step, r.WIDTH), cell(step, r.PIXEL), cell(step, r.CHANNELS)
    columns, across = cell(step, r.COLUMNS), cell(step, r.COLUMN_WEIGHTS)
    row = cell(step, r.X) + iy * cell(step, r.IN_WIDTH) * pixel
    for k in range(classes):
        line, x = to + k * plane, row + 4 * k
        for ox in range(width):
            a = read_f32(x + read_i64(columns + 16 * ox) * pixel)
            b = read_f32(x + read_i64(columns + 16 * ox + 8) * pixel)
            write_f32(line + 4 * ox, a * read_f32(across + 8 * ox) + b * read_f32(across + 8 * ox + 4))
        for ox in range(width, plane // 4):
            write_f32(line + 4 * ox, 0)


@kernel()
def class_map(step: int, thread: int, threads: int, scratch: int) -> int:
    """A thread's rows of a class map, argmax of scores resized; the resized scores never lie in memory as a map.

    Two rows of the scores are kept at the map's width, an even one and an odd one: as many as one row of the map reads.

    Returns:
        How many pixels have a score that is NaN.
    """
    width, rows, down = cell(step, r.WIDTH), cell(step, r.ROWS), cell(step, r.ROW_WEIGHTS)
    units, classes = (width + 15) // 16, cell(step, r.CHANNELS)
    plane = 64 * units
    lines = scratch + r.GATHERED
    labels = lines + 2 * classes * plane
    even, odd = NO_ROW, NO_ROW
    height = cell(step, r.POSITIONS) // width
    nans = 0
    for oy in range(height * thread // threads, height * (thread + 1) // threads):
        above, below = read_i64(rows + 16 * oy), read_i64(rows + 16 * oy + 8)
        for i in range(2):
            iy = above if i == 0 else below
            if iy != (odd if iy % 2 == 1 else even):
                widen(step, iy, lines + iy % 2 * classes * plane, plane)
                if iy % 2 == 1:
                    odd = iy
                else:
                    even = iy
        first, second = lines + above % 2 * classes * plane, lines + below % 2 * classes * plane
        nans += best_classes(labels, first, second, plane, classes, units, down + 8 * oy)
        copy(cell(step, r.OUT) + oy * width, labels, width)
    return nans
