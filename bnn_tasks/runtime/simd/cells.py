"""Reading a row of a table (`record`)."""

from bnn_tasks.runtime.jit import kernel
from bnn_tasks.runtime.simd.memory import read_i64


@kernel()
def cell(step: int, index: int) -> int:
    """One cell of a row."""
    return read_i64(step + 8 * index)
