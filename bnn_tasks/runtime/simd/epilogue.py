"""The passes of a step's epilogue, one after the other."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.finish import (
    finish,
    finish_add,
    finish_add_prelu,
    finish_counted_add,
    finish_counted_add_prelu,
)
from bnn_tasks.runtime.simd.ir import LANES
from bnn_tasks.runtime.simd.passes import (
    add_map,
    add_scaled_map,
    clear_units,
    clip,
    clip_below,
    counted,
    counted_integers,
    multiply_factor,
    multiply_map,
    normalize,
    pack,
    pack_sums,
    prelu,
    scale,
    scale_shift,
    shift,
    write,
    write_sums,
)


@kernel()
def end(kind: int, at: int, first: int, n: int, lanes: int, channel: int, lane: int, block: int) -> int:
    """A pass that finishes a layer: what comes first in its row leads to what comes last, the map and the bits."""
    last = at + 8
    if kind == r.FINISH_ADD:
        last += 8
    elif kind == r.FINISH_ADD_PRELU:
        last += 8 * 5
    elif kind == r.FINISH_COUNTED_ADD:
        last += 8 * 6
    elif kind == r.FINISH_COUNTED_ADD_PRELU:
        last += 8 * 10
    pixel, bit_pixel = cell(last, 1), cell(last, 3)
    offset = first * pixel + 4 * channel
    out, bits, thresholds = (
        cell(last, 0) + offset,
        cell(last, 2) + first * bit_pixel + channel // 8,
        cell(last, 4) + lane,
    )
    if kind == r.FINISH:
        return finish(block, n, lanes, out, pixel, bits, bit_pixel, thresholds)
    a, b, c, d = cell(at, 1), cell(at, 2) + lane, cell(at, 3) + lane, cell(at, 4) + lane
    if kind == r.FINISH_ADD:
        return finish_add(block, n, lanes, a + offset, out, pixel, bits, bit_pixel, thresholds)
    e = cell(at, 5) + lane
    if kind == r.FINISH_ADD_PRELU:
        return finish_add_prelu(block, n, lanes, a + offset, b, c, d, e, out, pixel, bits, bit_pixel, thresholds)
    a, b, other = a + lane, cell(at, 2) + 4 * first, cell(at, 6) + offset
    if kind == r.FINISH_COUNTED_ADD:
        return finish_counted_add(block, n, lanes, a, b, c, d, e, other, out, pixel, bits, bit_pixel, thresholds)
    f, g, h, i = cell(at, 7) + lane, cell(at, 8) + lane, cell(at, 9) + lane, cell(at, 10) + lane
    return finish_counted_add_prelu(
        block, n, lanes, a, b, c, d, e, other, f, g, h, i, out, pixel, bits, bit_pixel, thresholds
    )


@kernel()
def epilogue(step: int, first: int, n: int, row: int, made: int, block: int) -> int:
    """Run the passes on a filled block; returns how many values are NaN where a sign was taken.

    `made`: bytes from where WRITE says that its map lies to where it does.
    """
    lanes = cell(step, r.LANES)
    channel, valid = cell(row, r.CHANNEL), cell(row, r.VALID)
    units = cell(row, r.UNITS)
    lane = 4 * cell(row, r.LANE)
    nans = 0
    for i in range(cell(step, r.PASS_COUNT)):
        at = cell(step, r.PASSES) + 8 * r.PASS_CELLS * i
        kind = cell(at, 0)
        a, b, c, d = cell(at, 1), cell(at, 2), cell(at, 3), cell(at, 4)
        place = a + first * b + 4 * channel  # where (a, b) is a map and the bytes of its pixel
        if kind == r.COUNTED:
            counted(block, n, lanes, a + lane, b + 4 * first, c + lane, d + lane, cell(at, 5) + lane)
        elif kind == r.COUNTED_INTEGERS:
            counted_integers(block, n, lanes, a + lane, b + 4 * first)
        elif kind == r.SCALE:
            scale(block, n, lanes, a + lane)
        elif kind == r.SHIFT:
            shift(block, n, lanes, a + lane)
        elif kind == r.SCALE_SHIFT:
            scale_shift(block, n, lanes, a + lane, b + lane)
        elif kind == r.NORMALIZE:
            normalize(block, n, lanes, a + lane, b + lane)
        elif kind == r.CLIP_BELOW:
            clip_below(block, n, lanes, a + lane)
        elif kind == r.CLIP:
            clip(block, n, lanes, a + lane, b + lane)
        elif kind == r.PRELU:
            prelu(block, n, lanes, a + lane, b + lane, c + lane, d + lane)
        elif kind == r.ADD_MAP:
            add_map(block, n, lanes, place, b, c)
        elif kind == r.ADD_SCALED_MAP:
            add_scaled_map(block, n, lanes, place, b, c + lane)
        elif kind == r.MULTIPLY_MAP:
            multiply_map(block, n, lanes, place, b, c)
        elif kind == r.MULTIPLY_FACTOR:
            multiply_factor(block, n, lanes, a + 4 * first)
        elif kind == r.WRITE:
            write(block, n, lanes, place + made, b, valid)
        elif kind == r.WRITE_SUMS:
            write_sums(block, n, lanes, a + lane, b + 4 * first, c + first * d + 4 * channel, d)
        elif kind == r.CLEAR_UNITS:
            clear_units(n, a + first * b + (channel + valid) // 8, b, units - lanes // LANES)
        elif kind == r.PACK:
            nans += pack(block, n, lanes, a + first * b + channel // 8, b, valid, units, c + lane)
        elif kind == r.PACK_SUMS:
            pack_sums(block, n, lanes, a + first * b + channel // 8, b, valid, units, c + lane, d + lane // 32)
        else:
            nans += end(kind, at, first, n, lanes, channel, lane, block)
    return nans
