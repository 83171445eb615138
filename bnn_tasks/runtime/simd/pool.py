"""Maps made without weights: pooled, picked, read from an image."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.memory import read_f32, read_i64, read_u8, write_f32, write_i64
from bnn_tasks.runtime.simd.windows import normalized_row, pixels_mean, read_places, window_max, window_mean


@kernel()
def taps_inside(start: int, taps: int, dilation: int, side: int) -> tuple[int, int]:
    """The taps of a window, from `start` on along an axis, that are inside the map: first, and behind the last."""
    low = max(0, (dilation - 1 - start) // dilation)
    return low, max(low, min(taps, (side - 1 - start) // dilation + 1))


@kernel()
def fill_pool(step: int, first: int, n: int, row: int, origin: int, scratch: int) -> None:
    """Maxima or means of a chunk's windows."""
    kind, lanes, width, pixel = cell(step, r.KIND), cell(step, r.LANES), cell(step, r.WIDTH), cell(step, r.PIXEL)
    in_height, in_width = cell(step, r.IN_HEIGHT), cell(step, r.IN_WIDTH)
    kernel_y, kernel_x = cell(step, r.KERNEL_Y), cell(step, r.KERNEL_X)
    dy, dx = cell(step, r.DILATION_Y), cell(step, r.DILATION_X)
    x = origin + 4 * cell(row, r.CHANNEL)
    for i in range(n):
        oy = (first + i) // width
        top = oy * cell(step, r.STRIDE_Y) - cell(step, r.PADDING_Y)
        left = (first + i - oy * width) * cell(step, r.STRIDE_X) - cell(step, r.PADDING_X)
        ky0, ky1 = taps_inside(top, kernel_y, dy, in_height)
        kx0, kx1 = taps_inside(left, kernel_x, dx, in_width)
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
def fill_places(step: int, first: int, n: int, row: int, origin: int, scratch: int) -> None:
    """A chunk's pixels, as they are or from the rows and columns of a smaller map."""
    width, in_width, pixel = cell(step, r.WIDTH), cell(step, r.IN_WIDTH), cell(step, r.PIXEL)
    x = origin + 4 * cell(row, r.CHANNEL)
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
def fill_mean(step: int, row: int, origin: int, scratch: int) -> None:
    """The mean of all pixels."""
    count, pixel = cell(step, r.IN_HEIGHT) * cell(step, r.IN_WIDTH), cell(step, r.PIXEL)
    start = origin + 4 * cell(row, r.CHANNEL)
    pixels_mean(scratch + r.BLOCK, cell(step, r.LANES), start, count, pixel)


@kernel()
def image(step: int, thread: int, threads: int) -> None:
    """The input, of any strides, as a map; (x - mean) / std of every channel."""
    width, channels, height = (
        cell(step, r.WIDTH),
        cell(step, r.CHANNELS),
        cell(step, r.POSITIONS) // cell(step, r.WIDTH),
    )
    down, right, deep = cell(step, r.STRIDE_Y), cell(step, r.STRIDE_X), cell(step, r.STRIDE_C)
    is_bytes, pixel = cell(step, r.BYTES) == 1, 4 * channels
    for y in range(height * thread // threads, height * (thread + 1) // threads):
        for c in range(channels):
            source, to = cell(step, r.X) + y * down + c * deep, cell(step, r.OUT) + y * width * pixel + 4 * c
            if is_bytes:
                values = cell(step, r.VALUES) + 1024 * c
                for i in range(width):
                    write_f32(to + i * pixel, read_f32(values + 4 * read_u8(source + i * right)))
                continue
            mean, std, done = cell(step, r.MEAN) + 4 * c, cell(step, r.STD) + 4 * c, 0
            if right == 4:
                done = width // 16 * 16
                normalized_row(to, pixel, source, width // 16, mean, std)
            for i in range(done, width):
                write_f32(to + i * pixel, (read_f32(source + i * right) - read_f32(mean)) / read_f32(std))


@kernel()
def bit_pool(step: int, thread: int, threads: int) -> None:
    """Maxima of packed signs: a window's signs or-ed; and-ed where what lies between pool and sign falls."""
    width, words, pixel = cell(step, r.WIDTH), cell(step, r.WORDS), cell(step, r.PIXEL)
    in_height, in_width = cell(step, r.IN_HEIGHT), cell(step, r.IN_WIDTH)
    height = cell(step, r.POSITIONS) // width
    for oy in range(height * thread // threads, height * (thread + 1) // threads):
        for ox in range(width):
            to = cell(step, r.OUT) + (oy * width + ox) * pixel
            for k in range(words):
                some, every = 0, -1
                for ky in range(cell(step, r.KERNEL_Y)):
                    iy = oy * cell(step, r.STRIDE_Y) - cell(step, r.PADDING_Y) + ky * cell(step, r.DILATION_Y)
                    if iy < 0 or iy >= in_height:
                        continue
                    for kx in range(cell(step, r.KERNEL_X)):
                        ix = ox * cell(step, r.STRIDE_X) - cell(step, r.PADDING_X) + kx * cell(step, r.DILATION_X)
                        if 0 <= ix < in_width:
                            bits = read_i64(cell(step, r.X) + (iy * in_width + ix) * pixel + 8 * k)
                            some |= bits
                            every &= bits
                rising = read_i64(cell(step, r.RISING) + 8 * k)
                write_i64(to + 8 * k, (some & rising) | (every & ~rising))
