"""Passes of an epilogue over a block: [positions, lanes] of 32 bits in cache, lanes a multiple of 16.

Each pass reads a value, computes in registers and writes it back, or out to a map. What it needs of a channel (a scale,
a threshold) lies in an array with a value a lane; lanes behind the last channel hold neutral values, and are never
written to a map.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from bnn_tasks.runtime.simd.ir import (
    F32,
    F32S,
    I16,
    I32,
    I32S,
    I64,
    LANES,
    call,
    const,
    fma,
    integers,
    load,
    splat,
    store,
)

UNIT = 4 * LANES  # bytes of a unit of lanes

Emit = Callable[[Any, Any, Sequence[Any]], Any]  # builder, values, a vector a parameter -> values


def each_unit(b: Any, lanes: Any) -> Any:
    """A loop over the units of some lanes."""
    return cgutils.for_range(b, b.udiv(lanes, const(LANES)))


def address(b: Any, base: Any, position: Any, step: Any, unit: Any, size: int = UNIT) -> Any:
    """Address of a unit of a position."""
    return b.add(b.add(base, b.mul(position, step)), b.mul(unit, const(size)))


def _channelwise(count: int, emit: Emit) -> Any:
    """A pass (block, positions, lanes, parameter addresses ...), in place; `count` parameters, one value a lane."""

    def codegen(b: Any, args: Any) -> Any:
        block, positions, lanes, *parameters = args
        step = b.mul(lanes, const(4))
        with each_unit(b, lanes) as u:
            offset = b.mul(u.index, const(UNIT))
            vectors = [load(b, F32S, b.add(p, offset), 4) for p in parameters]
            with cgutils.for_range(b, positions) as p:
                place = address(b, block, p.index, step, u.index)
                store(b, emit(b, load(b, F32S, place, 4), vectors), place, 4)

    return integers(count + 3, codegen)


def _mapwise(emit: Emit) -> Any:
    """A pass (block, positions, lanes, map, pixel, weights): with a real map's values of the same place and channel."""

    def codegen(b: Any, args: Any) -> Any:
        block, positions, lanes, other, pixel, weights = args
        step = b.mul(lanes, const(4))
        with each_unit(b, lanes) as u:
            weight = load(b, F32S, b.add(weights, b.mul(u.index, const(UNIT))), 4)
            with cgutils.for_range(b, positions) as p:
                place = address(b, block, p.index, step, u.index)
                value = load(b, F32S, address(b, other, p.index, pixel, u.index), 4)
                store(b, emit(b, load(b, F32S, place, 4), [value, weight]), place, 4)

    return integers(6, codegen)


def _below(b: Any, x: Any, limit: Any) -> Any:
    return b.select(b.fcmp_ordered("<", x, limit), limit, x)


def _above(b: Any, x: Any, limit: Any) -> Any:
    return b.select(b.fcmp_ordered(">", x, limit), limit, x)


def bent(b: Any, x: Any, p: Sequence[Any]) -> Any:
    """PReLU with its shifts and upper slope: p holds shift_in, slope, slope_above, shift_out."""
    shift_in, slope, slope_above, shift_out = p
    u = b.fsub(x, shift_in)
    bent = b.select(b.fcmp_ordered(">=", u, ir.Constant(F32S, None)), b.fmul(u, slope_above), b.fmul(u, slope))
    return b.fadd(bent, shift_out)


scale = _channelwise(1, lambda b, x, p: b.fmul(x, p[0]))
shift = _channelwise(1, lambda b, x, p: b.fadd(x, p[0]))
scale_shift = _channelwise(2, lambda b, x, p: fma(b, x, p[0], p[1]))
normalize = _channelwise(2, lambda b, x, p: b.fdiv(b.fsub(x, p[0]), p[1]))
clip_below = _channelwise(1, lambda b, x, p: _below(b, x, p[0]))
clip = _channelwise(2, lambda b, x, p: _above(b, _below(b, x, p[0]), p[1]))
prelu = _channelwise(4, bent)

add_map = _mapwise(lambda b, x, p: b.fadd(x, p[0]))
add_scaled_map = _mapwise(lambda b, x, p: b.fadd(x, b.fmul(p[0], p[1])))
multiply_map = _mapwise(lambda b, x, p: b.fmul(x, p[0]))


def _sums(b: Any, mismatches: Any, bases: Any, classes: Any, position: Any) -> Any:
    """base[class of the position] - 2·mismatches; `classes` holds the byte where each position's row of bases starts."""
    row = b.sext(load(b, I32, b.add(classes, b.mul(position, const(4))), 4), I64)
    return b.sub(load(b, I32S, b.add(bases, row), 4), b.add(mismatches, mismatches))


def _counted_integers(b: Any, args: Any) -> Any:
    """(block, positions, lanes, bases, classes): mismatches to sums."""
    block, positions, lanes, bases, classes = args
    step = b.mul(lanes, const(4))
    with each_unit(b, lanes) as u:
        base = b.add(bases, b.mul(u.index, const(UNIT)))
        with cgutils.for_range(b, positions) as p:
            place = address(b, block, p.index, step, u.index)
            store(b, _sums(b, load(b, I32S, place, 4), base, classes, p.index), place, 4)


counted_integers = integers(5, _counted_integers)


def _write_sums(b: Any, args: Any) -> Any:
    """(block, positions, lanes, bases, classes, map, pixel): mismatches as sums to a map; every lane is a channel."""
    block, positions, lanes, bases, classes, out, pixel = args
    step = b.mul(lanes, const(4))
    with each_unit(b, lanes) as u:
        base = b.add(bases, b.mul(u.index, const(UNIT)))
        with cgutils.for_range(b, positions) as p:
            mismatches = load(b, I32S, address(b, block, p.index, step, u.index), 4)
            store(b, _sums(b, mismatches, base, classes, p.index), address(b, out, p.index, pixel, u.index), 4)


write_sums = integers(7, _write_sums)


def scaled_sums(b: Any, mismatches: Any, bases: Any, classes: Any, position: Any, vectors: Sequence[Any]) -> Any:
    """(sum·scale)·factor + summand, the product rounded, then the rest at once: a layer's scale, then its BatchNorm."""
    sums = b.sitofp(_sums(b, mismatches, bases, classes, position), F32S)
    return fma(b, b.fmul(sums, vectors[0]), vectors[1], vectors[2])


def _counted(b: Any, args: Any) -> Any:
    """(block, positions, lanes, bases, classes, scales, factors, summands): mismatches to scaled sums."""
    block, positions, lanes, bases, classes, *parameters = args
    step = b.mul(lanes, const(4))
    with each_unit(b, lanes) as u:
        offset = b.mul(u.index, const(UNIT))
        vectors = [load(b, F32S, b.add(p, offset), 4) for p in parameters]
        base = b.add(bases, offset)
        with cgutils.for_range(b, positions) as p:
            place = address(b, block, p.index, step, u.index)
            store(b, scaled_sums(b, load(b, I32S, place, 4), base, classes, p.index, vectors), place, 4)


counted = integers(8, _counted)


def _multiply_factor(b: Any, args: Any) -> Any:
    block, positions, lanes, factors = args
    step = b.mul(lanes, const(4))
    with cgutils.for_range(b, positions) as p:
        factor = splat(b, load(b, F32, b.add(factors, b.mul(p.index, const(4))), 4), LANES)
        with each_unit(b, lanes) as u:
            place = address(b, block, p.index, step, u.index)
            store(b, b.fmul(load(b, F32S, place, 4), factor), place, 4)


multiply_factor = integers(4, _multiply_factor)  # (block, positions, lanes, factors), one factor a position


def _write(b: Any, args: Any) -> Any:
    """(block, positions, lanes, map, pixel, valid): the first `valid` lanes of every position to a map."""
    block, positions, lanes, out, pixel, valid = args
    step = b.mul(lanes, const(4))
    whole = b.udiv(valid, const(LANES))
    tail = b.mul(whole, const(LANES))
    with cgutils.for_range(b, positions) as p:
        row, to = b.add(block, b.mul(p.index, step)), b.add(out, b.mul(p.index, pixel))
        with cgutils.for_range(b, whole) as u:
            offset = b.mul(u.index, const(UNIT))
            store(b, load(b, I32S, b.add(row, offset), 4), b.add(to, offset), 4)
        with cgutils.for_range(b, b.sub(valid, tail)) as c:
            offset = b.mul(b.add(c.index, tail), const(4))
            store(b, load(b, I32, b.add(row, offset), 4), b.add(to, offset), 4)


write = integers(6, _write)


def _valid_mask(b: Any, valid: Any, unit: Any) -> Any:
    """i16 with a bit for each lane of a unit that is a channel."""
    left = b.sub(valid, b.mul(unit, const(LANES)))
    left = b.select(b.icmp_signed(">", left, const(0)), left, const(0))
    full = b.icmp_signed(">=", left, const(LANES))
    return b.trunc(b.select(full, const(0xFFFF), b.sub(b.shl(const(1), left), const(1))), I16)


def sign_bits(b: Any, x: Any, threshold: Any) -> tuple[Any, Any]:
    """Bits of x >= threshold, and of what is NaN."""
    return b.bitcast(b.fcmp_ordered(">=", x, threshold), I16), b.bitcast(b.fcmp_unordered("uno", x, x), I16)


def _pack(b: Any, args: Any) -> Any:
    """(block, positions, lanes, out, pixel, valid, units, thresholds): bits x >= threshold; returns how many values are NaN.

    It writes `units` units of 2 bytes a position; bits behind the first `valid` lanes are 0.
    """
    block, positions, lanes, out, pixel, valid, units, thresholds = args
    step = b.mul(lanes, const(4))
    nans = cgutils.alloca_once_value(b, const(0))
    with cgutils.for_range(b, units) as u:
        mask = _valid_mask(b, valid, u.index)
        threshold = load(b, F32S, b.add(thresholds, b.mul(u.index, const(UNIT))), 4)
        with cgutils.for_range(b, positions) as p:
            bits, unordered = sign_bits(b, load(b, F32S, address(b, block, p.index, step, u.index), 4), threshold)
            store(b, b.and_(bits, mask), address(b, out, p.index, pixel, u.index, 2), 2)
            count = call(b, "llvm.ctpop.i16", I16, b.and_(unordered, mask))
            b.store(b.add(b.load(nans), b.zext(count, I64)), nans)
    return b.load(nans)


pack = integers(8, _pack, types.int64)


def _pack_sums(b: Any, args: Any) -> Any:
    """(block, positions, lanes, out, pixel, valid, units, thresholds, flips): bits (sum >= threshold) xor flip."""
    block, positions, lanes, out, pixel, valid, units, thresholds, flips = args
    step = b.mul(lanes, const(4))
    with cgutils.for_range(b, units) as u:
        mask = _valid_mask(b, valid, u.index)
        threshold = load(b, I32S, b.add(thresholds, b.mul(u.index, const(UNIT))), 4)
        flip = load(b, I16, b.add(flips, b.mul(u.index, const(2))), 2)
        with cgutils.for_range(b, positions) as p:
            sums = load(b, I32S, address(b, block, p.index, step, u.index), 4)
            bits = b.xor(b.bitcast(b.icmp_signed(">=", sums, threshold), I16), flip)
            store(b, b.and_(bits, mask), address(b, out, p.index, pixel, u.index, 2), 2)


pack_sums = integers(9, _pack_sums)


def _clear_units(b: Any, args: Any) -> Any:
    """(positions, out, pixel, count): no bits in `count` units of 2 bytes of every position."""
    positions, out, pixel, count = args
    with cgutils.for_range(b, positions) as p:
        start = b.add(out, b.mul(p.index, pixel))
        with cgutils.for_range(b, count) as u:
            store(b, ir.Constant(I16, 0), b.add(start, b.mul(u.index, const(2))), 2)


clear_units = integers(4, _clear_units)
