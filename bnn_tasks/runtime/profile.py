"""What a network costs, layer by layer: parameters, operations, bytes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from bnn_tasks.runtime.format import load
from bnn_tasks.runtime.ops import OPS
from bnn_tasks.runtime.ops.base import BINARY_WEIGHTS, FLOAT_WEIGHTS
from bnn_tasks.runtime.plan import make_plan, node_tensors
from bnn_tasks.runtime.session import Session

BOPS_PER_FLOP = 64  # OPs = FLOPs + BOPs / 64 (Bi-Real Net, Liu et al., 2018, section 4.3)


@dataclass(frozen=True)
class LayerProfile:
    """One row of the table. A tensor that several nodes share counts in the first of them only.

    Attributes:
        name: node; in the last two rows, what they sum up.
        op: its op; empty in the last two rows.
        binary_parameters: 1-bit weights, true ones: padding bits are not counted.
        float_parameters: 32-bit numbers (weights, biases, scales, thresholds).
        bops: binary multiply-adds for one image, padded taps included.
        flops: real multiply-adds for one image, padded taps included.
        binary_weight_bytes: in the file.
        float_weight_bytes: weights and biases of real-valued layers, in the file.
        scale_bytes: BatchNorms, scales, thresholds and other constants, in the file.
        header_bytes: graph, digests and names, in the file.
    """

    name: str
    op: str
    binary_parameters: int = 0
    float_parameters: int = 0
    bops: int = 0
    flops: int = 0
    binary_weight_bytes: int = 0
    float_weight_bytes: int = 0
    scale_bytes: int = 0
    header_bytes: int = 0

    @property
    def bytes(self) -> int:
        """All of the row's bytes in the file."""
        return self.binary_weight_bytes + self.float_weight_bytes + self.scale_bytes + self.header_bytes


def profile(source: str | os.PathLike[str] | Session, size: tuple[int, int]) -> list[LayerProfile]:
    """Rows of every convolution and linear node in order, then `(other nodes)` and `(header)`.

    Args:
        source: artifact, or a session on one.
        size: (height, width) of the input, pixels.

    Returns:
        The rows; their bytes sum up to the file's size.

    Raises:
        ArtifactError: the file does not load.
        ValueError: the network cannot run at this size.
    """
    path = Path(source.path if isinstance(source, Session) else source)
    graph, tensors = load(path)
    kinds = make_plan(graph, tensors, *size).kinds
    rows, rest, seen = [], LayerProfile("(other nodes)", ""), set[str]()
    for node in graph.nodes:
        op, mine = OPS[node.op], node_tensors(node, tensors)
        new = {role: tensor for role, tensor in mine.items() if node.tensors[role] not in seen}
        seen.update(node.tensors.values())
        by_category = dict.fromkeys((BINARY_WEIGHTS, FLOAT_WEIGHTS), 0)
        scales = numbers = bits = 0
        for role, tensor in new.items():
            category = op.roles[role].category
            if category in by_category:
                by_category[category] += tensor.nbytes
            else:
                scales += tensor.nbytes
            if category == BINARY_WEIGHTS:
                bits += op.weight_bits(node.attrs, mine)
            else:
                numbers += tensor.size
        inputs, outputs = ([kinds[v] for v in names] for names in (node.inputs, node.outputs))
        steps = op.cost(inputs, outputs, node.attrs, mine) if op.layer else 0
        row = LayerProfile(
            name=node.name,
            op=node.op,
            binary_parameters=bits,
            float_parameters=numbers,
            bops=steps if op.binary else 0,
            flops=0 if op.binary else steps,
            binary_weight_bytes=by_category[BINARY_WEIGHTS],
            float_weight_bytes=by_category[FLOAT_WEIGHTS],
            scale_bytes=scales,
        )
        if op.layer:
            rows.append(row)
        else:
            rest = _sum("(other nodes)", [rest, row])
    header = path.stat().st_size - sum(tensor.nbytes for tensor in tensors.values())
    return [*rows, rest, LayerProfile("(header)", "", header_bytes=header)]


def _sum(name: str, rows: Sequence[LayerProfile]) -> LayerProfile:
    numbers = [field.name for field in fields(LayerProfile) if field.type is int]
    return LayerProfile(name, "", **{key: sum(getattr(row, key) for row in rows) for key in numbers})


def format_table(rows: Sequence[LayerProfile]) -> str:
    """The rows as text, with totals, the share of multiply-adds that are 1-bit, and bytes by kind.

    Args:
        rows: of `profile`.

    Returns:
        Lines of fixed-width columns.
    """
    total = _sum("total", rows)
    heads = ("layer", "op", "1-bit params", "32-bit params", "BOPs", "FLOPs", "bytes")
    cells = [
        (r.name, r.op, *(f"{n:,}" for n in (r.binary_parameters, r.float_parameters, r.bops, r.flops, r.bytes)))
        for r in (*rows, total)
    ]
    widths = [max(len(line[i]) for line in (heads, *cells)) for i in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in (heads, *cells)
    ]
    lines.insert(1, "-" * len(lines[0]))
    macs = total.bops + total.flops
    share = f"{100 * total.bops / macs:.1f} %" if macs else "none"
    lines += [
        "",
        f"multiply-adds that are 1-bit: {share}; OPs = FLOPs + BOPs/{BOPS_PER_FLOP} = "
        f"{total.flops + total.bops / BOPS_PER_FLOP:,.0f}",
        f"bytes: binary weights {total.binary_weight_bytes:,}, float weights {total.float_weight_bytes:,}, "
        f"BatchNorm, scales and thresholds {total.scale_bytes:,}, header {total.header_bytes:,}, total {total.bytes:,}",
    ]
    return "\n".join(lines)
