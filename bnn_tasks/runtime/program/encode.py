"""A fused step as rows of a table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import WORD, ClassMap, Kind, words
from bnn_tasks.runtime.ops.resize_bilinear import neighbours
from bnn_tasks.runtime.ops.shape import nearest
from bnn_tasks.runtime.plan import node_tensors
from bnn_tasks.runtime.program import borders
from bnn_tasks.runtime.program.epilogue import Epilogue
from bnn_tasks.runtime.program.fuse import LAYERS
from bnn_tasks.runtime.program.layers import (
    InputWindows,
    block_groups,
    encode_depthwise,
    encode_layer,
    is_depthwise,
    kernel_of,
)
from bnn_tasks.runtime.program.layout import Layout
from bnn_tasks.runtime.program.memory import round_up
from bnn_tasks.runtime.program.steps import BitPoolStep, ClassMapStep, FusedStep, JoinStep, RowStep, extent
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.table import Cell, InArena, Table
from bnn_tasks.runtime.program.tiling import share_blocks
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.ir import LANES

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
    "resize_bilinear": r.BILINEAR,
    "channel_group_mean": r.LOAD,
}

ASIDE_BYTES = 1 << 18  # a quarter of a level-2 cache


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
    places: Mapping[str, Cell]
    store: Store
    threads: int

    def encode(self, step: RowStep) -> Encoded:
        """The step in rows."""
        if isinstance(step, BitPoolStep):
            return self._bit_pool(step)
        if isinstance(step, ClassMapStep):
            return self._class_map(step)
        if isinstance(step, JoinStep):
            return self._join(step)
        if step.source is not None:
            return self._blocks(step, r.LOAD, step.source, None)
        root = step.nodes[0]
        depthwise = is_depthwise(root, node_tensors(root, self.tensors))
        kind, source = r.DEPTHWISE if depthwise else KINDS[root.op], step.others[root.name][0]
        halves = step.halves()
        if halves is None:
            return self._blocks(step, kind, source, root)
        inner = self._blocks(halves[0], kind, source, root, aside=True)
        pool = halves[1].nodes[0]
        value = step.others[pool.name][0]
        outer = replace(self, places={**self.places, value: 0})._blocks(halves[1], KINDS[pool.op], value, pool)
        return self._pooled(inner, outer, pool, value)

    def _bit_pool(self, step: BitPoolStep) -> Encoded:
        channels, height, width = extent(self.kinds[step.source])
        _, rows, columns = extent(self.kinds[step.value])
        flags = np.zeros(words(channels) * WORD, np.uint8)
        flags[:channels] = step.rising
        cells: dict[int, Cell] = {
            r.KIND: r.BIT_POOL,
            r.POSITIONS: rows * columns,
            r.WIDTH: columns,
            r.WORDS: words(channels),
            r.PIXEL: 8 * words(channels),
            r.X: self.places[step.source],
            r.OUT: self.places[step.value],
            r.RISING: np.packbits(flags, bitorder="little"),
        }
        cells |= InputWindows.of(step.pool, (height, width)).cells()
        return Encoded(cells, Table(r.BLOCK_CELLS), Table(r.PASS_CELLS), 0)

    def _class_map(self, step: ClassMapStep) -> Encoded:
        channels, height, width = extent(self.kinds[step.source])
        (value,) = step.argmax.outputs
        made = self.kinds[value]
        assert isinstance(made, ClassMap)
        rows, columns = made.shape
        cells: dict[int, Cell] = {
            r.KIND: r.CLASS_MAP,
            r.POSITIONS: rows * columns,
            r.WIDTH: columns,
            r.CHANNELS: channels,
            r.PIXEL: 4 * channels,
            r.X: self.places[step.source],
            r.IN_WIDTH: width,
            r.OUT: self.places[value],
        }
        units = round_up(columns, LANES)
        cells |= _bilinear((height, width), (rows, columns))
        return Encoded(cells, Table(r.BLOCK_CELLS), Table(r.PASS_CELLS), 2 * channels * 4 * units + units)

    def _join(self, step: JoinStep) -> Encoded:
        encoded = self._blocks(FusedStep(step.source), r.LOAD, step.source, None)
        (value,) = step.concat.outputs
        whole = self.places[value]
        assert isinstance(whole, InArena)
        encoded.passes.add([r.WRITE, InArena(whole.offset + 4 * step.channel), 4 * extent(self.kinds[value])[0]])
        encoded.cells[r.PASS_COUNT] = len(encoded.passes)
        return encoded

    def _pooled(self, inner: Encoded, outer: Encoded, pool: Node, value: str) -> Encoded:
        """A pool over rows that lie in scratch: as many at once as keep to `ASIDE_BYTES`."""
        channels, height, width = extent(self.kinds[value])
        windows = InputWindows.of(pool, (height, width))
        out = extent(self.kinds[pool.outputs[0]])[1]
        row = 4 * channels * width

        def rows(band: int) -> int:
            return min(windows.reach(band, 1)[0], height)

        band = next((band for band in range(out, 1, -1) if rows(band) * row <= ASIDE_BYTES), 1)
        aside = round_up(r.GATHERED + inner.scratch)
        outer.cells |= {r.BAND: band, r.ASIDE: aside, r.BY_BLOCK: 0}
        return replace(outer, scratch=aside + rows(band) * row - r.GATHERED, inner=inner)

    def _blocks(self, step: FusedStep, kind: int, source: str, root: Node | None, aside: bool = False) -> Encoded:
        channels, height, width = extent(self.kinds[source])
        made = extent(self.kinds[source if root is None else root.outputs[0]])
        groups = 1 if root is None or root.op not in LAYERS else block_groups(root, node_tensors(root, self.tensors))
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
            cells |= InputWindows((height, width), (1, 1)).cells()
        elif root.op in LAYERS:
            tensors = node_tensors(root, self.tensors)
            windows = InputWindows.of(root, (height, width), kernel_of(root, tensors))
            if kind == r.DEPTHWISE:
                layer = encode_depthwise(root, tensors, layout, self.store)
            else:
                layer = encode_layer(kind, root, tensors, channels, windows, layout, self.store)
            cells |= windows.cells() | layer.cells
            addresses, offset, scratch = layer.addresses, layer.group_offset, layer.gathered
            self._sums(step, root, epilogue, windows, layer.bits, made[1:])
        else:
            cells |= InputWindows.of(root, (height, width)).cells()
            if root.op == "resize_nearest":
                cells |= {r.ROWS: nearest(made[1], height), r.COLUMNS: nearest(made[2], width)}
            if root.op == "resize_bilinear":
                cells |= _bilinear((height, width), made[1:])
            if root.op == "channel_group_mean":
                epilogue.group_mean(source, channels)
            cells[r.DIVISOR] = int(root.attrs.get("count_include_pad", False))
        self._events(step, root, epilogue)
        if aside:
            epilogue.write_aside()
            if cells.get(r.GATHER) == r.AT_ONCE:
                cells[r.GATHER] = r.BY_CHUNK
        passes = epilogue.table()
        cells[r.PASS_COUNT] = len(passes)
        return Encoded(cells, layout.table(addresses, offset), passes, scratch)

    def _sums(
        self,
        step: FusedStep,
        root: Node,
        epilogue: Epilogue,
        windows: InputWindows,
        bits: np.ndarray | None,
        size: tuple[int, int],
    ) -> None:
        """From a tile's sums to the layer's output."""
        tensors = node_tensors(root, self.tensors)
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


def _bilinear(source: tuple[int, int], size: tuple[int, int]) -> dict[int, Cell]:
    """Neighbours and weights of every row and column, from one (height, width) to another."""
    (rows, down), (columns, across) = (neighbours(size[i], source[i]) for i in (0, 1))
    return {r.ROWS: rows, r.COLUMNS: columns, r.ROW_WEIGHTS: down, r.COLUMN_WEIGHTS: across}
