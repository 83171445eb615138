"""Depthwise convolution: every channel has a filter of its own, so channels are lanes of input, weights and output alike."""

from typing import Any

from numba.core import cgutils

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.ir import F32S, LANES, const, fma, integers, load, registers, store
from bnn_tasks.runtime.simd.passes import UNIT
from bnn_tasks.runtime.simd.pool import taps_inside
from bnn_tasks.runtime.simd.target import vector_bytes

# Outputs that share what is read of the weights; with 64 lanes each they fill half of 32 registers, or all of 16.
ABREAST = 4 if vector_bytes() == 64 else 1


def _sums(positions: int) -> Any:
    """An intrinsic (out, lanes, start, step, rows, row, columns, column, weights, weight_row): Σ x·w, float32.

    `positions` outputs, each `step` bytes behind the last in the input; weights [rows, columns, lanes], rows `weight_row`
    bytes apart.
    """

    def window(b: Any, args: Any, units: int) -> None:
        out, _, start, step, rows, row, columns, column, weights, weight_row = args
        across = 4 * LANES * units
        starts = [b.add(start, b.mul(step, const(m))) for m in range(positions)]
        cells = [registers(b, F32S, units) for _ in range(positions)]
        with cgutils.for_range(b, rows) as y:
            down, line = b.mul(y.index, row), b.add(weights, b.mul(y.index, weight_row))
            with cgutils.for_range(b, columns) as x:
                here = b.add(down, b.mul(x.index, column))
                tap = b.add(line, b.mul(x.index, const(across)))
                factors = [load(b, F32S, b.add(tap, const(UNIT * n)), UNIT) for n in range(units)]
                for place, own in zip(starts, cells, strict=True):
                    source = b.add(place, here)
                    for n in range(units):
                        value = load(b, F32S, b.add(source, const(UNIT * n)), 4)
                        b.store(fma(b, value, factors[n], b.load(own[n])), own[n])
        for m, own in enumerate(cells):
            for n in range(units):
                store(b, b.load(own[n]), b.add(out, const(across * m + UNIT * n)), 4)

    def codegen(b: Any, args: Any) -> Any:
        for units in range(1, 5):
            with b.if_then(b.icmp_signed("==", args[1], const(LANES * units))):
                window(b, args, units)

    return integers(10, codegen)


sums_of_one, sums_abreast = _sums(1), _sums(ABREAST)


@kernel()
def fill_depthwise(step: int, first: int, n: int, row: int, origin: int, scratch: int) -> None:
    """Sums of a chunk's windows; taps outside the map count nothing."""
    lanes, width, pixel = cell(step, r.LANES), cell(step, r.WIDTH), cell(step, r.PIXEL)
    in_height, in_width = cell(step, r.IN_HEIGHT), cell(step, r.IN_WIDTH)
    kernel_y, kernel_x = cell(step, r.KERNEL_Y), cell(step, r.KERNEL_X)
    dy, dx, stride = cell(step, r.DILATION_Y), cell(step, r.DILATION_X), cell(step, r.STRIDE_X)
    x, weights = origin + 4 * cell(row, r.CHANNEL), cell(row, r.WEIGHTS)
    down, right = dy * in_width * pixel, dx * pixel
    tap = 4 * lanes
    line = kernel_x * tap
    i = 0
    while i < n:
        oy = (first + i) // width
        ox = first + i - oy * width
        ky0, ky1 = taps_inside(oy * cell(step, r.STRIDE_Y) - cell(step, r.PADDING_Y), kernel_y, dy, in_height)
        top = oy * cell(step, r.STRIDE_Y) - cell(step, r.PADDING_Y) + ky0 * dy
        end = min(i + width - ox, n)
        while i < end:
            left = ox * stride - cell(step, r.PADDING_X)
            out = scratch + r.BLOCK + tap * i
            last = left + (ABREAST - 1) * stride + (kernel_x - 1) * dx
            if left >= 0 and last < in_width and i + ABREAST <= end:
                start = x + (top * in_width + left) * pixel
                w = weights + ky0 * line
                sums_abreast(out, lanes, start, stride * pixel, ky1 - ky0, down, kernel_x, right, w, line)
                i += ABREAST
                ox += ABREAST
            else:
                kx0, kx1 = taps_inside(left, kernel_x, dx, in_width)
                start = x + (top * in_width + left + kx0 * dx) * pixel
                w = weights + ky0 * line + kx0 * tap
                sums_of_one(out, lanes, start, 0, ky1 - ky0, down, kx1 - kx0, right, w, line)
                i += 1
                ox += 1
