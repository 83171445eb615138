"""The compiled part of a program: its steps' loops over chunks and blocks, and where its threads meet."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.cells import cell
from bnn_tasks.runtime.simd.convolve import fill_convolution, gather, place
from bnn_tasks.runtime.simd.epilogue import epilogue
from bnn_tasks.runtime.simd.memory import atomic_add, atomic_read, atomic_write, give_way
from bnn_tasks.runtime.simd.pool import bit_pool, fill_mean, fill_places, fill_pool, image

SPINS = 4000  # of a thread that waits for others, before it lets them have its core: about 50 µs

# Cells of the barrier.
ARRIVED, ROUND = 0, 8


@kernel()
def blocks(step: int, thread: int, threads: int, scratch: int) -> None:
    """A thread's share of a step that fills blocks."""
    kind, total = cell(step, r.KIND), cell(step, r.BLOCKS)
    positions, width, chunk, pieces = (
        cell(step, r.POSITIONS),
        cell(step, r.WIDTH),
        cell(step, r.CHUNK),
        cell(step, r.PIECES),
    )
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
                fill_mean(step, row, scratch)
            else:
                fill_pool(step, first, n, row, scratch)
            nans += epilogue(step, first, n, row, scratch + r.BLOCK)
    if nans:
        atomic_add(step + 8 * r.NANS, nans)


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
