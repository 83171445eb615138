"""The compiled part of a program: its steps' loops over chunks and blocks, and where its threads meet."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.blend import class_map, fill_bilinear
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.convolve import fill_convolution, gather, place
from bnn_tasks.runtime.simd.depthwise import fill_depthwise
from bnn_tasks.runtime.simd.epilogue import epilogue
from bnn_tasks.runtime.simd.memory import atomic_add, atomic_read, atomic_write, copy, give_way
from bnn_tasks.runtime.simd.pool import bit_pool, fill_mean, fill_places, fill_pool, image

SPINS = 4000  # of a thread that waits for others, before it lets them have its core: about 50 µs

# Cells of the barrier; ABANDONED: a thread will not come.
ARRIVED, ROUND, ABANDONED = 0, 8, 16


@kernel()
def chunk_blocks(
    step: int,
    first: int,
    n: int,
    block0: int,
    block1: int,
    origin: int,
    in_row: int,
    down: int,
    made: int,
    scratch: int,
) -> int:
    """Blocks of one chunk; returns how many values are NaN where a sign was taken.

    Args:
        step: address of the row.
        first: position.
        n: positions.
        block0: index.
        block1: index behind the last.
        origin: where the window of output pixel (0, 0) lies or would lie, without padding that is not gathered.
        in_row: bytes of a row there.
        down: bytes from a tap's row to the next one's.
        made: bytes from where the row says that a map is written to where it is.
        scratch: address.
    """
    kind = cell(step, r.KIND)
    convolution = kind == r.XNOR or kind == r.FLOAT or kind == r.SIGNED
    if convolution and cell(step, r.GATHER) == r.BY_CHUNK:
        origin, in_row, down = gather(step, first, n, scratch)
    offset = -1
    nans = 0
    for i in range(block0, block1):
        row = cell(step, r.BLOCK_TABLE) + 8 * r.BLOCK_CELLS * i
        if convolution:
            if cell(row, r.INPUT_OFFSET) != offset:
                offset = cell(row, r.INPUT_OFFSET)
                place(step, first, n, origin + offset, in_row, scratch)
            fill_convolution(step, n, row, down, scratch)
        elif kind == r.LOAD or kind == r.RESIZE:
            fill_places(step, first, n, row, origin, scratch)
        elif kind == r.BILINEAR:
            fill_bilinear(step, first, n, row, origin, scratch)
        elif kind == r.GLOBAL_POOL:
            fill_mean(step, row, origin, scratch)
        elif kind == r.DEPTHWISE:
            fill_depthwise(step, first, n, row, origin, scratch)
        else:
            fill_pool(step, first, n, row, origin, scratch)
        nans += epilogue(step, first, n, row, made, scratch + r.BLOCK)
    return nans


@kernel()
def blocks(step: int, thread: int, threads: int, scratch: int) -> int:
    """A thread's share of a step that fills blocks; returns as `chunk_blocks`."""
    chunk, pieces, width = cell(step, r.CHUNK), cell(step, r.PIECES), cell(step, r.WIDTH)
    chunk0, chunk1, block0, block1 = 0, cell(step, r.CHUNKS), 0, cell(step, r.BLOCKS)
    if cell(step, r.BY_BLOCK) == 1:
        block0, block1 = block1 * thread // threads, block1 * (thread + 1) // threads
    else:
        chunk0, chunk1 = chunk1 * thread // threads, chunk1 * (thread + 1) // threads
    origin, in_row = cell(step, r.X), cell(step, r.IN_WIDTH) * cell(step, r.PIXEL)
    down = in_row * cell(step, r.DILATION_Y)
    if cell(step, r.GATHER) == r.AT_ONCE and chunk1 > chunk0:  # chunks then run on from row to row
        first = chunk0 * chunk
        origin, in_row, down = gather(step, first, min(chunk1 * chunk, cell(step, r.POSITIONS)) - first, scratch)
    nans = 0
    for c in range(chunk0, chunk1):
        first = c * chunk
        n = min(chunk, cell(step, r.POSITIONS) - first)
        if pieces > 0:
            line = c // pieces
            begin = (c - line * pieces) * chunk
            first, n = line * width + begin, min(chunk, width - begin)
        nans += chunk_blocks(step, first, n, block0, block1, origin, in_row, down, 0, scratch)
    return nans


@kernel()
def rows(step: int, row0: int, row1: int, origin: int, made: int, scratch: int) -> int:
    """All blocks of some rows of the output; arguments and result as of `chunk_blocks`."""
    in_row = cell(step, r.IN_WIDTH) * cell(step, r.PIXEL)
    down, last = in_row * cell(step, r.DILATION_Y), cell(step, r.BLOCKS)
    chunk, width = cell(step, r.CHUNK), cell(step, r.WIDTH)
    nans = 0
    if cell(step, r.PIECES) == 0:
        for first in range(row0 * width, row1 * width, chunk):
            n = min(chunk, row1 * width - first)
            nans += chunk_blocks(step, first, n, 0, last, origin, in_row, down, made, scratch)
        return nans
    for y in range(row0, row1):
        for begin in range(0, width, chunk):
            n = min(chunk, width - begin)
            nans += chunk_blocks(step, y * width + begin, n, 0, last, origin, in_row, down, made, scratch)
    return nans


@kernel()
def pooled(step: int, thread: int, threads: int, scratch: int) -> int:
    """A thread's share of a pool over rows that another step makes, a few at a time; returns as `chunk_blocks`."""
    inner, band, aside = cell(step, r.INNER), cell(step, r.BAND), scratch + cell(step, r.ASIDE)
    height = cell(step, r.POSITIONS) // cell(step, r.WIDTH)
    row = cell(step, r.IN_WIDTH) * cell(step, r.PIXEL)
    stride, padding = cell(step, r.STRIDE_Y), cell(step, r.PADDING_Y)
    reach = (cell(step, r.KERNEL_Y) - 1) * cell(step, r.DILATION_Y) + 1
    start, stop = 0, 0  # the rows that lie aside
    nans = 0
    last = height * (thread + 1) // threads
    for oy in range(height * thread // threads, last, band):
        end = min(oy + band, last)
        top = max(oy * stride - padding, 0)
        bottom = min((end - 1) * stride - padding + reach, cell(step, r.IN_HEIGHT))
        kept = max(stop - top, 0)
        for y in range(kept):
            copy(aside + y * row, aside + (top - start + y) * row, row)
        nans += rows(inner, top + kept, bottom, cell(inner, r.X), aside - top * row, scratch)
        start, stop = top, bottom
        nans += rows(step, oy, end, aside - top * row, 0, scratch)
    return nans


@kernel()
def meet(barrier: int, threads: int) -> bool:
    """Wait until all threads are here; False if one will not come."""
    before = atomic_read(barrier + ROUND)
    if atomic_add(barrier + ARRIVED, 1) == threads - 1:
        atomic_write(barrier + ARRIVED, 0)
        atomic_add(barrier + ROUND, 1)
        return True
    spins = 0
    while atomic_read(barrier + ROUND) == before:
        spins += 1
        if spins > SPINS:
            give_way()
            if atomic_read(barrier + ABANDONED) != 0:
                return False
    return True


@kernel(nogil=True)
def run_steps(
    table: int, first: int, last: int, thread: int, threads: int, scratch: int, stride: int, barrier: int
) -> None:
    """One thread's share of the steps first, ..., last - 1; every thread makes the same call.

    Args:
        table: address of the steps.
        first: index.
        last: index.
        thread: this one, in [0, threads).
        threads: how many there are.
        scratch: address, aligned to 64 bytes.
        stride: bytes of a thread's scratch.
        barrier: address of three cells, zero at first.
    """
    for i in range(first, last):
        step = table + 8 * r.CELLS * i
        kind = cell(step, r.KIND)
        if kind == r.IMAGE:
            image(step, thread, threads)
        elif kind == r.BIT_POOL:
            bit_pool(step, thread, threads)
        else:
            mine = scratch + thread * stride
            if kind == r.CLASS_MAP:
                nans = class_map(step, thread, threads, mine)
            elif cell(step, r.INNER):
                nans = pooled(step, thread, threads, mine)
            else:
                nans = blocks(step, thread, threads, mine)
            if nans:
                atomic_add(step + 8 * r.NANS, nans)
        if threads > 1 and not meet(barrier, threads):
            return
