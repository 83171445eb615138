"""The end of a layer in one pass, while its values are in registers."""

from typing import Any

from numba import types
from numba.core import cgutils

from bnn_tasks.runtime.simd.ir import F32S, I16, I32S, I64, call, const, integers, load, store
from bnn_tasks.runtime.simd.passes import UNIT, address, bent, each_unit, scaled_sums, sign_bits


def _finish(counts: bool, adds: bool, bends: bool) -> Any:
    """The end of a layer in one pass: [sums scaled,] [+ a map,] [PReLU,] written to a map and, signs taken, as bits.

    For blocks whose lanes all are channels. (block, positions, lanes, [bases, classes, scales, factors, summands,]
    [other map,] [shift_in, slope, slope_above, shift_out,] map, pixel, bits, bit pixel, thresholds); returns how many
    values are NaN.
    """

    def codegen(b: Any, args: Any) -> Any:
        block, positions, lanes, *rest = args
        bases, classes, *scales = [rest.pop(0) for _ in range(5)] if counts else [None, None]
        other = rest.pop(0) if adds else None
        bend = [rest.pop(0) for _ in range(4)] if bends else []
        out, pixel, packed, bit_pixel, thresholds = rest
        step = b.mul(lanes, const(4))
        nans = cgutils.alloca_once_value(b, const(0))
        with each_unit(b, lanes) as u:
            offset = b.mul(u.index, const(UNIT))
            scale_vectors, bend_vectors, (threshold,) = (
                [load(b, F32S, b.add(p, offset), 4) for p in addresses] for addresses in (scales, bend, [thresholds])
            )
            base = b.add(bases, offset) if counts else None
            with cgutils.for_range(b, positions) as p:
                place = address(b, block, p.index, step, u.index)
                if counts:
                    x = scaled_sums(b, load(b, I32S, place, 4), base, classes, p.index, scale_vectors)
                else:
                    x = load(b, F32S, place, 4)
                if adds:
                    x = b.fadd(x, load(b, F32S, address(b, other, p.index, pixel, u.index), 4))
                if bends:
                    x = bent(b, x, bend_vectors)
                store(b, x, address(b, out, p.index, pixel, u.index), 4)
                bits, unordered = sign_bits(b, x, threshold)
                store(b, bits, address(b, packed, p.index, bit_pixel, u.index, 2), 2)
                count = call(b, "llvm.ctpop.i16", I16, unordered)
                b.store(b.add(b.load(nans), b.zext(count, I64)), nans)
        return b.load(nans)

    return integers(8 + 5 * counts + adds + 4 * bends, codegen, types.int64)


finish = _finish(False, False, False)
finish_add = _finish(False, True, False)
finish_add_prelu = _finish(False, True, True)
finish_counted_add = _finish(True, True, False)
finish_counted_add_prelu = _finish(True, True, True)
