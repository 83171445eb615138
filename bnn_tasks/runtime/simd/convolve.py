"""Convolutions: windows gathered and placed, then inner products tile by tile."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd import tiles
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.memory import clear, copy, read_i64, write_i64

# Names of this module: numba's cache takes no attributes of others.
xnor_0, xnor_1, xnor_2, xnor_3 = tiles.xnor_0, tiles.xnor_1, tiles.xnor_2, tiles.xnor_3
float_0, float_1, float_2, float_3, float_4 = tiles.float_0, tiles.float_1, tiles.float_2, tiles.float_3, tiles.float_4
signed_0, signed_1 = tiles.signed_0, tiles.signed_1
XNOR_0, XNOR_1, XNOR_2, XNOR_3 = (positions for positions, _ in tiles.XNOR_SHAPES)
FLOAT_0, FLOAT_1, FLOAT_2, FLOAT_3, FLOAT_4 = (positions for positions, _ in tiles.FLOAT_SHAPES)
SIGNED_0, SIGNED_1 = (positions for positions, _ in tiles.SIGNED_SHAPES)


@kernel()
def xnor_tiles(
    tile: int,
    n: int,
    addresses: int,
    w: int,
    rows: int,
    row: int,
    segments: int,
    segment: int,
    count: int,
    out: int,
    out_step: int,
) -> None:
    """Mismatches of n windows with the weights of one tile's channels."""
    if tile == 0:
        for i in range(0, n, XNOR_0):
            xnor_0(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    elif tile == 1:
        for i in range(0, n, XNOR_1):
            xnor_1(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    elif tile == 2:
        for i in range(0, n, XNOR_2):
            xnor_2(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    else:
        for i in range(0, n, XNOR_3):
            xnor_3(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)


@kernel()
def float_tiles(
    tile: int,
    n: int,
    addresses: int,
    w: int,
    rows: int,
    row: int,
    segments: int,
    segment: int,
    count: int,
    out: int,
    out_step: int,
) -> None:
    """Sums of n windows with the real weights of one tile's channels."""
    if tile == 0:
        for i in range(0, n, FLOAT_0):
            float_0(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    elif tile == 1:
        for i in range(0, n, FLOAT_1):
            float_1(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    elif tile == 2:
        for i in range(0, n, FLOAT_2):
            float_2(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    elif tile == 3:
        for i in range(0, n, FLOAT_3):
            float_3(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    else:
        for i in range(0, n, FLOAT_4):
            float_4(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)


@kernel()
def signed_tiles(
    tile: int,
    n: int,
    addresses: int,
    w: int,
    rows: int,
    row: int,
    segments: int,
    segment: int,
    count: int,
    out: int,
    out_step: int,
) -> None:
    """Sums of n real windows with the packed weights of one tile's channels."""
    if tile == 0:
        for i in range(0, n, SIGNED_0):
            signed_0(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    else:
        for i in range(0, n, SIGNED_1):
            signed_1(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)


@kernel()
def gather(step: int, first: int, n: int, scratch: int) -> tuple[int, int, int]:
    """Copy the input under a chunk's windows into scratch, padding included; rows between those of dilated taps are left out.

    Returns:
        Address of what would be the window of output pixel (0, 0), bytes of a gathered row, and bytes from a tap's row to the
        next one's.
    """
    width, pixel = cell(step, r.WIDTH), cell(step, r.PIXEL)
    in_height, in_width = cell(step, r.IN_HEIGHT), cell(step, r.IN_WIDTH)
    stride_y, stride_x = cell(step, r.STRIDE_Y), cell(step, r.STRIDE_X)
    x, pad = cell(step, r.X), cell(step, r.PAD)
    oy0, oy1 = first // width, (first + n - 1) // width
    ox0, ox1 = 0, width - 1
    if oy0 == oy1:
        ox0 = first - oy0 * width
        ox1 = ox0 + n - 1
    top = oy0 * stride_y - cell(step, r.PADDING_Y)
    left = ox0 * stride_x - cell(step, r.PADDING_X)
    dilation, span = cell(step, r.DILATION_Y), (oy1 - oy0) * stride_y + 1  # rows that one tap is on
    apart = min(dilation, span)
    height = (cell(step, r.KERNEL_Y) - 1) * apart + span
    across = (ox1 - ox0) * stride_x + (cell(step, r.KERNEL_X) - 1) * cell(step, r.DILATION_X) + 1
    row = across * pixel
    to = scratch + r.GATHERED
    start, stop = min(max(left, 0), in_width), max(min(left + across, in_width), 0)
    for y in range(height):
        line = to + y * row
        iy = top + y if apart == dilation else top + y // span * dilation + y % span
        outside = iy < 0 or iy >= in_height or stop <= start
        before = row if outside else (start - left) * pixel
        after = 0 if outside else (left + across - stop) * pixel
        if not outside:
            copy(line + before, x + (iy * in_width + start) * pixel, (stop - start) * pixel)
        if pad == 0:
            clear(line, before)
            clear(line + row - after, after)
        else:
            for at in range(line, line + before, pixel):
                copy(at, pad, pixel)
            for at in range(line + row - after, line + row, pixel):
                copy(at, pad, pixel)
    return to - oy0 * stride_y * row - ox0 * stride_x * pixel, row, apart * row


@kernel()
def place(step: int, first: int, n: int, origin: int, row: int, scratch: int) -> None:
    """Addresses of a chunk's windows; the last one again where a tile goes past it."""
    width = cell(step, r.WIDTH)
    down, right = cell(step, r.STRIDE_Y) * row, cell(step, r.STRIDE_X) * cell(step, r.PIXEL)
    oy = first // width
    ox = first - oy * width
    at = scratch + r.ADDRESSES
    for i in range(n):
        write_i64(at + 8 * i, origin + oy * down + ox * right)
        ox += 1
        if ox == width:
            ox = 0
            oy += 1
    last = read_i64(at + 8 * (n - 1))
    for i in range(n, n + r.SPARE):
        write_i64(at + 8 * i, last)


@kernel()
def fill_convolution(step: int, n: int, row: int, down: int, scratch: int) -> None:
    """Inner products of a chunk's windows with a block's weights; a tap's row is `down` bytes behind the last one's."""
    kind, tile, lanes = cell(step, r.KIND), cell(step, r.TILE), cell(step, r.LANES)
    rows, segments, segment = cell(step, r.KERNEL_Y), cell(step, r.SEGMENTS), cell(step, r.SEGMENT)
    count, subtiles, size = cell(step, r.COUNT), cell(step, r.SUBTILES), cell(step, r.SUBTILE_WEIGHTS)
    weights, addresses, out = cell(row, r.WEIGHTS), scratch + r.ADDRESSES, scratch + r.BLOCK
    across = 4 * lanes
    for i in range(subtiles):
        w, to = weights + i * size, out + i * (across // subtiles)
        if kind == r.XNOR:
            xnor_tiles(tile, n, addresses, w, rows, down, segments, segment, count, to, across)
        elif kind == r.FLOAT:
            float_tiles(tile, n, addresses, w, rows, down, segments, segment, count, to, across)
        else:
            signed_tiles(tile, n, addresses, w, rows, down, segments, segment, count, to, across)
