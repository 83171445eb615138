"""A fused step as rows of a table."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import Kind
from bnn_tasks.runtime.ops.shape import nearest
from bnn_tasks.runtime.plan import node_tensors
from bnn_tasks.runtime.program import borders
from bnn_tasks.runtime.program.epilogue import Epilogue
from bnn_tasks.runtime.program.fuse import LAYERS, FusedStep, extent
from bnn_tasks.runtime.program.layers import Windows, encode_layer, kernel_of
from bnn_tasks.runtime.program.layout import Layout
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.table import Cell, InArena, Table
from bnn_tasks.runtime.program.tiling import share_blocks
from bnn_tasks.runtime.simd import record as r

KINDS = {
    "conv2d": r.FLOAT,
    "linear": r.FLOAT,
    "binary_conv2d": r.XNOR,
    "binary_linear": r.XNOR,
    "binary_weight_conv2d": r.SIGNED,
    "binary_weight_linear": r.SIGNED,
    "max_pool2d": r.MAX_POOL,
    "avg_pool2d": r.AVG_POOL,
    "global_avg_pool": r.GLOBAL_POOL,
    "resize_nearest": r.RESIZE,
}


@dataclass
class Encoded:
    """A step in rows.

    Attributes:
        cells: of the step.
        blocks: its block table.
        passes: its passes.
        scratch: bytes that a thread needs behind its block.
        inner: the layer whose rows are pooled as they are made; None for all other steps.
    """

    cells: dict[int, Cell]
    blocks: Table
    passes: Table
    scratch: int
    inner: "Encoded | None" = None


@dataclass(frozen=True)
class Encoder:
    """Encodes the steps of a program.

    Attributes:
        tensors: of the file.
        kinds: of all values.
        places: where values lie in the arena.
        store: of the file.
        threads: that will share a step.
    """

    tensors: Mapping[str, np.ndarray]
    kinds: Mapping[str, Kind]
    places: Mapping[str, InArena]
    store: Store
    threads: int

    def encode(self, step: FusedStep) -> Encoded:
        """The step in rows."""
        if step.source is not None:
            return self._blocks(step, r.LOAD, step.source, None)
        root = step.nodes[0]
        return self._blocks(step, KINDS[root.op], step.others[root.name][0], root)

    def _blocks(self, step: FusedStep, kind: int, source: str, root: Node | None) -> Encoded:
        channels, height, width = extent(self.kinds[source])
        made = extent(self.kinds[source if root is None else root.outputs[0]])
        groups = int(root.attrs.get("groups", 1)) if root is not None and root.op in LAYERS else 1
        layout = Layout(made[0], groups, made[1] * made[2], made[2])
        epilogue = Epilogue(step, layout, self.tensors, self.kinds, self.places, self.store)
        chunk, pieces, count = layout.chunks
        cells: dict[int, Cell] = {
            r.KIND: kind,
            r.POSITIONS: layout.positions,
            r.WIDTH: layout.width,
            r.CHUNK: chunk,
            r.PIECES: pieces,
            r.CHUNKS: count,
            r.LANES: layout.lanes,
            r.BLOCKS: layout.blocks,
            r.BY_BLOCK: int(share_blocks(count, layout.blocks, self.threads)),
            r.X: self.places[source],
            r.PIXEL: 4 * channels,
        }
        addresses: list[Cell] = []
        offset = scratch = 0
        if root is None:
            cells |= Windows((height, width), (1, 1)).cells()
        elif root.op in LAYERS:
            tensors = node_tensors(root, dict(self.tensors))
            windows = Windows.of(root, (height, width), kernel_of(root, tensors))
            layer = encode_layer(kind, root, tensors, channels, windows, layout, self.store)
            cells |= windows.cells() | layer.cells
            addresses, offset, scratch = layer.addresses, layer.group_offset, layer.gathered
            self._sums(step, root, epilogue, windows, layer.bits, made[1:])
        else:
            cells |= Windows.of(root, (height, width)).cells()
            if root.op == "resize_nearest":
                cells |= {r.ROWS: nearest(made[1], height), r.COLUMNS: nearest(made[2], width)}
            cells[r.DIVISOR] = int(root.attrs.get("count_include_pad", False))
        self._events(step, root, epilogue)
        passes = epilogue.table()
        cells[r.PASS_COUNT] = len(passes)
        return Encoded(cells, layout.table(addresses, offset), passes, scratch)

    def _sums(
        self,
        step: FusedStep,
        root: Node,
        epilogue: Epilogue,
        windows: Windows,
        bits: np.ndarray | None,
        size: tuple[int, int],
    ) -> None:
        """From a tile's sums to the layer's output."""
        tensors = node_tensors(root, dict(self.tensors))
        if KINDS[root.op] == r.XNOR:
            assert bits is not None
            if root.attrs.get("pad_value", 0) == 0 and windows.padding != (0, 0):
                found = borders.zero_padded(bits, windows, size)
            else:
                found = borders.padded_with_signs(bits, size[0] * size[1])
            integers = any(event in ("sums", "threshold") for event, *_ in step.events)
            epilogue.sums(found, integers, tensors)
            if integers:
                return
        else:
            epilogue.scale(tensors)
        epilogue.second_and_bias(root, tensors)

    def _events(self, step: FusedStep, root: Node | None, epilogue: Epilogue) -> None:
        for event, node, value in step.events:
            if event in ("write", "sums"):
                epilogue.write(value)
            elif event in ("pack", "threshold"):
                assert node is not None
                epilogue.pack(node, value)
            elif node is not root:
                assert node is not None
                epilogue.node(node)
