"""Passes that run as one: the value stays in a register from the layer's sums to its map and bits."""

from bnn_tasks.runtime.program.table import Cell
from bnn_tasks.runtime.simd import record as r

Pass = tuple[int, tuple[Cell, ...]]  # kind, cells

# What a finishing pass replaces, longest first.
FINISHES = (
    ((r.COUNTED, r.ADD_MAP, r.PRELU), r.FINISH_COUNTED_ADD_PRELU),
    ((r.COUNTED, r.ADD_MAP), r.FINISH_COUNTED_ADD),
    ((r.ADD_MAP, r.PRELU), r.FINISH_ADD_PRELU),
    ((r.ADD_MAP,), r.FINISH_ADD),
    ((), r.FINISH),
)


def merged(passes: list[Pass], whole: bool, tail: bool = False) -> list[Pass]:
    """The same passes, fewer.

    A layer's sums take a BatchNorm that follows along; the end of a layer, where the same value is packed and written,
    is one pass.

    Args:
        passes: in order.
        whole: whether the lanes of all blocks are channels.
        tail: whether the last word of bits goes on behind the last block.
    """
    out = list(passes)
    kinds = [kind for kind, _ in out]
    if kinds[:2] == [r.COUNTED, r.SCALE_SHIFT]:
        out[:2] = [(r.COUNTED, out[0][1][:3] + out[1][1])]
        kinds[:2] = [r.COUNTED]
    if whole and kinds == [r.COUNTED_INTEGERS, r.WRITE]:
        return [(r.WRITE_SUMS, out[0][1] + out[1][1])]
    if not whole or kinds[-2:] != [r.PACK, r.WRITE]:
        return out
    for pattern, finish in FINISHES:
        start = len(out) - 2 - len(pattern)
        if start >= 0 and tuple(kinds[start:-2]) == pattern:
            cells = [cell for kind, own in out[start:-2] for cell in (own[:1] if kind == r.ADD_MAP else own)]
            (_, pack), (_, write) = out[-2:]
            end = [(r.CLEAR_UNITS, pack[:2])] if tail else []
            return [*out[:start], (finish, (*cells, *write, *pack)), *end]
    return out
