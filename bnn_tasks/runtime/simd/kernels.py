"""The compiled part of a program: every step's loops over chunks, blocks and passes (`record` says what a step is)."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import passes, tiles, windows
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.memory import (
    atomic_add,
    atomic_read,
    atomic_write,
    clear,
    copy,
    give_way,
    read_f32,
    read_i64,
    write_f32,
    write_i64,
)

counted, counted_integers, scale, shift = passes.counted, passes.counted_integers, passes.scale, passes.shift
scale_shift, normalize, clip_below, clip = passes.scale_shift, passes.normalize, passes.clip_below, passes.clip
prelu, add_map, add_scaled_map, multiply_map = passes.prelu, passes.add_map, passes.add_scaled_map, passes.multiply_map
multiply_factor, write, pack, pack_sums = passes.multiply_factor, passes.write, passes.pack, passes.pack_sums
finish, finish_add, finish_add_prelu = passes.finish, passes.finish_add, passes.finish_add_prelu
finish_counted_add, finish_counted_add_prelu = passes.finish_counted_add, passes.finish_counted_add_prelu
xnor_0, xnor_1, xnor_2 = tiles.xnor_0, tiles.xnor_1, tiles.xnor_2
float_0, float_1, float_2, float_3, float_4 = tiles.float_0, tiles.float_1, tiles.float_2, tiles.float_3, tiles.float_4
signed_0, signed_1 = tiles.signed_0, tiles.signed_1
XNOR_0, XNOR_1, XNOR_2 = (positions for positions, _ in tiles.XNOR_SHAPES)
FLOAT_0, FLOAT_1, FLOAT_2, FLOAT_3, FLOAT_4 = (positions for positions, _ in tiles.FLOAT_SHAPES)
SIGNED_0, SIGNED_1 = (positions for positions, _ in tiles.SIGNED_SHAPES)
read_places, window_max, window_mean, pixels_mean = (
    windows.read_places,
    windows.window_max,
    windows.window_mean,
    windows.pixels_mean,
)

SPINS = 4000  # of a thread that waits for others, before it lets them have its core: about 50 µs

# Cells of the barrier.
ARRIVED, ROUND = 0, 8


@kernel()
def cell(step: int, index: int) -> int:
    """One cell of a row."""
    return read_i64(step + 8 * index)


@kernel()
def xnor_tiles(tile: int, n: int, addresses: int, w: int, rows: int, row: int, segments: int, segment: int, count: int, out: int, out_step: int) -> None:
    """Mismatches of n windows with the weights of one tile's channels."""
    if tile == 0:
        for i in range(0, n, XNOR_0):
            xnor_0(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    elif tile == 1:
        for i in range(0, n, XNOR_1):
            xnor_1(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    else:
        for i in range(0, n, XNOR_2):
            xnor_2(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)


@kernel()
def float_tiles(tile: int, n: int, addresses: int, w: int, rows: int, row: int, segments: int, segment: int, count: int, out: int, out_step: int) -> None:
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
def signed_tiles(tile: int, n: int, addresses: int, w: int, rows: int, row: int, segments: int, segment: int, count: int, out: int, out_step: int) -> None:
    """Sums of n real windows with the packed weights of one tile's channels."""
    if tile == 0:
        for i in range(0, n, SIGNED_0):
            signed_0(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)
    else:
        for i in range(0, n, SIGNED_1):
            signed_1(addresses + 8 * i, w, rows, row, segments, segment, count, out + i * out_step, out_step)


@kernel()
def gather(step: int, first: int, n: int, scratch: int) -> tuple[int, int]:
    """Copy the input under a chunk's windows into scratch, padding included.

    Returns:
        Address of what would be the window of output pixel (0, 0), and bytes of a gathered row.
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
    height = (oy1 - oy0) * stride_y + (cell(step, r.KERNEL_Y) - 1) * cell(step, r.DILATION_Y) + 1
    across = (ox1 - ox0) * stride_x + (cell(step, r.KERNEL_X) - 1) * cell(step, r.DILATION_X) + 1
    row = across * pixel
    to = scratch + r.GATHERED
    start, stop = min(max(left, 0), in_width), max(min(left + across, in_width), 0)
    for y in range(height):
        line = to + y * row
        iy = top + y
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
    return to - oy0 * stride_y * row - ox0 * stride_x * pixel, row


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
    out, bits, thresholds = cell(last, 0) + offset, cell(last, 2) + first * bit_pixel + channel // 8, cell(last, 4) + lane
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
def epilogue(step: int, first: int, n: int, row: int, block: int) -> int:
    """Run the passes on a filled block; returns how many values are NaN where a sign was taken."""
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
            write(block, n, lanes, place, b, valid)
        elif kind == r.PACK:
            nans += pack(block, n, lanes, a + first * b + channel // 8, b, valid, units, c + lane)
        elif kind == r.PACK_SUMS:
            pack_sums(block, n, lanes, a + first * b + channel // 8, b, valid, units, c + lane, d + lane // 32)
        else:
            nans += end(kind, at, first, n, lanes, channel, lane, block)
    return nans


@kernel()
def fill_convolution(step: int, n: int, row: int, in_row: int, scratch: int) -> None:
    """Inner products of a chunk's windows with a block's weights."""
    kind, tile, lanes = cell(step, r.KIND), cell(step, r.TILE), cell(step, r.LANES)
    rows, segments, segment = cell(step, r.KERNEL_Y), cell(step, r.SEGMENTS), cell(step, r.SEGMENT)
    count, subtiles, size = cell(step, r.COUNT), cell(step, r.SUBTILES), cell(step, r.SUBTILE_WEIGHTS)
    weights, addresses, out = cell(row, r.WEIGHTS), scratch + r.ADDRESSES, scratch + r.BLOCK
    down, across = in_row * cell(step, r.DILATION_Y), 4 * lanes
    for i in range(subtiles):
        w, to = weights + i * size, out + i * (across // subtiles)
        if kind == r.XNOR:
            xnor_tiles(tile, n, addresses, w, rows, down, segments, segment, count, to, across)
        elif kind == r.FLOAT:
            float_tiles(tile, n, addresses, w, rows, down, segments, segment, count, to, across)
        else:
            signed_tiles(tile, n, addresses, w, rows, down, segments, segment, count, to, across)


@kernel()
def fill_pool(step: int, first: int, n: int, row: int, scratch: int) -> None:
    """Maxima or means of a chunk's windows."""
    kind, lanes, width, pixel = cell(step, r.KIND), cell(step, r.LANES), cell(step, r.WIDTH), cell(step, r.PIXEL)
    in_height, in_width = cell(step, r.IN_HEIGHT), cell(step, r.IN_WIDTH)
    kernel_y, kernel_x = cell(step, r.KERNEL_Y), cell(step, r.KERNEL_X)
    dy, dx = cell(step, r.DILATION_Y), cell(step, r.DILATION_X)
    x = cell(step, r.X) + 4 * cell(row, r.CHANNEL)
    for i in range(n):
        oy = (first + i) // width
        top = oy * cell(step, r.STRIDE_Y) - cell(step, r.PADDING_Y)
        left = (first + i - oy * width) * cell(step, r.STRIDE_X) - cell(step, r.PADDING_X)
        ky0, ky1 = max(0, (dy - 1 - top) // dy), min(kernel_y, (in_height - 1 - top) // dy + 1)
        kx0, kx1 = max(0, (dx - 1 - left) // dx), min(kernel_x, (in_width - 1 - left) // dx + 1)
        ky1, kx1 = max(ky1, ky0), max(kx1, kx0)
        start = x + ((top + ky0 * dy) * in_width + left + kx0 * dx) * pixel
        out = scratch + r.BLOCK + 4 * lanes * i
        down, right = dy * in_width * pixel, dx * pixel
        if kind == r.MAX_POOL:
            window_max(out, lanes, start, ky1 - ky0, down, kx1 - kx0, right, 1)
        else:
            count = (ky1 - ky0) * (kx1 - kx0)
            if cell(step, r.DIVISOR) == 1:
                bottom = min(top + kernel_y, in_height + cell(step, r.PADDING_Y))
                count = (bottom - top) * (min(left + kernel_x, in_width + cell(step, r.PADDING_X)) - left)
            window_mean(out, lanes, start, ky1 - ky0, down, kx1 - kx0, right, count)


@kernel()
def fill_places(step: int, first: int, n: int, row: int, scratch: int) -> None:
    """A chunk's pixels, as they are or from the rows and columns of a smaller map."""
    width, in_width, pixel = cell(step, r.WIDTH), cell(step, r.IN_WIDTH), cell(step, r.PIXEL)
    x = cell(step, r.X) + 4 * cell(row, r.CHANNEL)
    rows, columns = cell(step, r.ROWS), cell(step, r.COLUMNS)
    at = scratch + r.ADDRESSES
    for i in range(n):
        source = first + i
        if rows != 0:
            oy = source // width
            source = read_i64(rows + 8 * oy) * in_width + read_i64(columns + 8 * (source - oy * width))
        write_i64(at + 8 * i, x + source * pixel)
    read_places(scratch + r.BLOCK, n, cell(step, r.LANES), at)


@kernel()
def blocks(step: int, thread: int, threads: int, scratch: int) -> None:
    """A thread's share of a step that fills blocks."""
    kind, total = cell(step, r.KIND), cell(step, r.BLOCKS)
    positions, width, chunk, pieces = cell(step, r.POSITIONS), cell(step, r.WIDTH), cell(step, r.CHUNK), cell(step, r.PIECES)
    chunk0, chunk1, block0, block1 = 0, cell(step, r.CHUNKS), 0, total
    if cell(step, r.BY_BLOCK) == 1:
        block0, block1 = total * thread // threads, total * (thread + 1) // threads
    else:
        chunk0, chunk1 = chunk1 * thread // threads, chunk1 * (thread + 1) // threads
    convolution = kind == r.XNOR or kind == r.FLOAT or kind == r.SIGNED
    nans = 0
    for c in range(chunk0, chunk1):
        first = c * chunk
        n = min(chunk, positions - first)
        if pieces > 0:
            line = c // pieces
            begin = (c - line * pieces) * chunk
            first, n = line * width + begin, min(chunk, width - begin)
        origin, in_row = cell(step, r.X), cell(step, r.IN_WIDTH) * cell(step, r.PIXEL)
        if convolution and cell(step, r.GATHER) == 1:
            origin, in_row = gather(step, first, n, scratch)
        offset = -1
        for i in range(block0, block1):
            row = cell(step, r.BLOCK_TABLE) + 8 * r.BLOCK_CELLS * i
            if convolution:
                if cell(row, r.INPUT_OFFSET) != offset:
                    offset = cell(row, r.INPUT_OFFSET)
                    place(step, first, n, origin + offset, in_row, scratch)
                fill_convolution(step, n, row, in_row, scratch)
            elif kind == r.LOAD or kind == r.RESIZE:
                fill_places(step, first, n, row, scratch)
            elif kind == r.GLOBAL_POOL:
                count, pixel = cell(step, r.IN_HEIGHT) * cell(step, r.IN_WIDTH), cell(step, r.PIXEL)
                start = cell(step, r.X) + 4 * cell(row, r.CHANNEL)
                pixels_mean(scratch + r.BLOCK, cell(step, r.LANES), start, count, pixel)
            else:
                fill_pool(step, first, n, row, scratch)
            nans += epilogue(step, first, n, row, scratch + r.BLOCK)
    if nans:
        atomic_add(step + 8 * r.NANS, nans)


@kernel()
def image(step: int, thread: int, threads: int) -> None:
    """The input, of any strides, as a map; (x - mean) / std of every channel."""
    positions, width, channels = cell(step, r.POSITIONS), cell(step, r.WIDTH), cell(step, r.CHANNELS)
    x, out = cell(step, r.X), cell(step, r.OUT)
    down, right, deep = cell(step, r.STRIDE_Y), cell(step, r.STRIDE_X), cell(step, r.STRIDE_C)
    height = positions // width
    for y in range(height * thread // threads, height * (thread + 1) // threads):
        for c in range(channels):
            mean, std = read_f32(cell(step, r.MEAN) + 4 * c), read_f32(cell(step, r.STD) + 4 * c)
            source, to = x + y * down + c * deep, out + 4 * (y * width * channels + c)
            for i in range(width):
                write_f32(to + 4 * i * channels, (read_f32(source + i * right) - mean) / std)


@kernel()
def bit_pool(step: int, thread: int, threads: int) -> None:
    """Maxima of packed signs: a window's signs or-ed."""
    width, words, pixel = cell(step, r.WIDTH), cell(step, r.WORDS), cell(step, r.PIXEL)
    in_height, in_width = cell(step, r.IN_HEIGHT), cell(step, r.IN_WIDTH)
    height = cell(step, r.POSITIONS) // width
    for oy in range(height * thread // threads, height * (thread + 1) // threads):
        for ox in range(width):
            to = cell(step, r.OUT) + (oy * width + ox) * pixel
            for k in range(words):
                bits = 0
                for ky in range(cell(step, r.KERNEL_Y)):
                    iy = oy * cell(step, r.STRIDE_Y) - cell(step, r.PADDING_Y) + ky * cell(step, r.DILATION_Y)
                    if iy < 0 or iy >= in_height:
                        continue
                    for kx in range(cell(step, r.KERNEL_X)):
                        ix = ox * cell(step, r.STRIDE_X) - cell(step, r.PADDING_X) + kx * cell(step, r.DILATION_X)
                        if 0 <= ix < in_width:
                            bits |= read_i64(cell(step, r.X) + (iy * in_width + ix) * pixel + 8 * k)
                write_i64(to + 8 * k, bits)


@kernel()
def meet(barrier: int, threads: int) -> None:
    """Wait until all threads are here."""
    before = atomic_read(barrier + ROUND)
    if atomic_add(barrier + ARRIVED, 1) == threads - 1:
        atomic_write(barrier + ARRIVED, 0)
        atomic_add(barrier + ROUND, 1)
        return
    spins = 0
    while atomic_read(barrier + ROUND) == before:
        spins += 1
        if spins > SPINS:
            give_way()


@kernel(nogil=True)
def run_steps(table: int, first: int, last: int, thread: int, threads: int, scratch: int, stride: int, barrier: int) -> None:
    """One thread's share of the steps first, ..., last - 1; every thread makes the same call.

    Args:
        table: address of the steps.
        first: index.
        last: index.
        thread: this one, in [0, threads).
        threads: how many there are.
        scratch: address, aligned to 64 bytes.
        stride: bytes of a thread's scratch.
        barrier: address of two cells, zero at first.
    """
    for i in range(first, last):
        step = table + 8 * r.CELLS * i
        kind = cell(step, r.KIND)
        if kind == r.IMAGE:
            image(step, thread, threads)
        elif kind == r.BIT_POOL:
            bit_pool(step, thread, threads)
        else:
            blocks(step, thread, threads, scratch + thread * stride)
        if threads > 1:
            meet(barrier, threads)
