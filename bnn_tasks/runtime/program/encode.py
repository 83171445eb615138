"""A fused step as rows of a table."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import WORD, Kind, words
from bnn_tasks.runtime.ops.shape import nearest
from bnn_tasks.runtime.plan import node_tensors, prepare_key
from bnn_tasks.runtime.program import borders, weights
from bnn_tasks.runtime.program.merge import Pass, merged
from bnn_tasks.runtime.program.fuse import LAYERS, FusedStep, extent
from bnn_tasks.runtime.program.table import Cell, InArena, Table
from bnn_tasks.runtime.program.tiling import best_tile, block_lanes, chunks, share_blocks
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
}
NO_THRESHOLD = np.iinfo(np.int32).max  # no sum reaches it

Tensors = dict[str, np.ndarray]


class Store:
    """What is computed once for a file and kept for all input sizes: weights and parameters in the kernels' layout."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Any] = {}

    def once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` gave when the key was first asked for."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return sum(item.nbytes for item in self._kept.values() if isinstance(item, np.ndarray))


class StepEncoder:
    """Writes one fused step into a table.

    Args:
        step: the step.
        tensors: of the file.
        kinds: of all values.
        places: where values lie in the arena.
        store: of the file.
        threads: that will share the step.
    """

    def __init__(
        self,
        step: FusedStep,
        tensors: Mapping[str, np.ndarray],
        kinds: Mapping[str, Kind],
        places: Mapping[str, InArena],
        store: Store,
        threads: int,
    ) -> None:
        self.step, self.tensors, self.kinds, self.places, self.store = step, tensors, kinds, places, store
        self.root = step.nodes[0] if step.source is None else None
        self.kind = r.LOAD if self.root is None else KINDS[self.root.op]
        first = step.source if step.source is not None else step.nodes[0].inputs[0]
        self.input = first
        out = first if self.root is None else self.root.outputs[0]
        self.channels, height, width = extent(kinds[out])
        self.positions, self.width = height * width, width
        self.groups = self._attrs().get("groups", 1) if self._is_layer() else 1
        self.lanes = block_lanes(self.channels // self.groups)
        self.per_group = -(-(self.channels // self.groups) // self.lanes)
        self.threads = threads
        self.blocks, self.passes = Table(r.BLOCK_CELLS), Table(r.PASS_CELLS)
        self.row: list[Pass] = []
        self.gathered = 0
        self.cells: dict[int, Cell] = {}
        self.tile_positions = 1

    def _attrs(self) -> Mapping[str, Any]:
        return {} if self.root is None else self.root.attrs

    def _is_layer(self) -> bool:
        return self.root is not None and self.root.op in LAYERS

    def encode(self) -> None:
        """Fill `cells`, `blocks`, `passes` and `gathered`, the bytes of scratch for gathered windows."""
        chunk, pieces, count = chunks(self.positions, self.width)
        channels, height, width = extent(self.kinds[self.input])
        self.cells |= {
            r.KIND: self.kind,
            r.POSITIONS: self.positions,
            r.WIDTH: self.width,
            r.CHUNK: chunk,
            r.PIECES: pieces,
            r.CHUNKS: count,
            r.LANES: self.lanes,
            r.X: self.places[self.input],
            r.IN_HEIGHT: height,
            r.IN_WIDTH: width,
            r.PIXEL: 4 * channels,
            r.STRIDE_Y: 1,
            r.STRIDE_X: 1,
            r.DILATION_Y: 1,
            r.DILATION_X: 1,
            r.KERNEL_Y: 1,
            r.KERNEL_X: 1,
        }
        addresses: list[Cell] = [0] * (self.groups * self.per_group)
        offset = 0
        if self.root is not None:
            if self.root.op in LAYERS or "kernel" in self._attrs():
                self._windows()
            if self.root.op in LAYERS:
                addresses, offset = self._layer()
            elif self.root.op == "resize_nearest":
                self._resize(height, width)
            elif self.root.op == "avg_pool2d":
                self.cells[r.DIVISOR] = int(self.root.attrs["count_include_pad"])
        self._block_table(addresses, offset)
        for event, item in self.step.events:
            if event in ("write", "sums"):
                assert isinstance(item, str)
                self._pass(r.WRITE, self.places[item], 4 * self.channels)
            elif event == "pack":
                assert isinstance(item, Node)
                self._pack(item)
            elif item is not self.root:
                assert isinstance(item, Node)
                self._node(item)
        whole = self.channels % (self.groups * self.lanes) == 0 and self.channels % WORD == 0
        for kind, *cells in merged(self.row, whole):
            self.passes.add([kind, *cells])
        blocks = self.groups * self.per_group
        self.cells |= {
            r.BLOCKS: blocks,
            r.BY_BLOCK: int(share_blocks(count, blocks, self.threads)),
            r.PASS_COUNT: len(self.passes),
        }

    def _pass(self, kind: int, *cells: Cell) -> None:
        self.row.append((kind, *cells))

    # What fills a block.

    def _windows(self) -> None:
        attrs = self._attrs()
        names = {
            "stride": (r.STRIDE_Y, r.STRIDE_X),
            "padding": (r.PADDING_Y, r.PADDING_X),
            "dilation": (r.DILATION_Y, r.DILATION_X),
            "kernel": (r.KERNEL_Y, r.KERNEL_X),
        }
        for name, cells in names.items():
            if name in attrs:
                self.cells |= dict(zip(cells, attrs[name], strict=True))

    def _resize(self, height: int, width: int) -> None:
        rows = nearest(self.positions // self.width, height)
        self.cells |= {r.ROWS: rows, r.COLUMNS: nearest(self.width, width)}

    def _layer(self) -> tuple[list[Cell], int]:
        """Weights of every block, and bytes from group to group in an input pixel."""
        root = self.root
        assert root is not None
        tensors = node_tensors(root, self.tensors)
        binary = "binary" in root.op
        weight = tensors["weight"]
        inputs = extent(self.kinds[self.input])[0] // self.groups
        if binary:
            kernel = tuple(self._attrs().get("kernel", (1, 1)))
        else:
            kernel = tuple(weight.shape[2:]) or (1, 1)
            self.cells |= {r.KERNEL_Y: kernel[0], r.KERNEL_X: kernel[1]}
        tile = best_tile(self.kind, self.lanes, self.positions, self.width)
        self.tile_positions = tile.positions
        key = (prepare_key(root), self.lanes, tile.lanes)
        if self.kind == r.XNOR:
            bits = weights.unpack(weight, inputs, kernel)
            made = self.store.once(key, lambda: weights.xnor_weights(bits, self.groups, self.lanes, tile.lanes))
            per_pixel, item = words(inputs), 8
            self._counted(bits, tensors)
        elif self.kind == r.SIGNED:
            bits = weights.unpack(weight, inputs, kernel)
            made = self.store.once(key, lambda: weights.signed_weights(bits, self.groups, self.lanes, tile.lanes))
            per_pixel, item = inputs, 4
            self._scaled(tensors)
        else:
            full = weight.reshape(*weight.shape[:2], *kernel)
            made = self.store.once(key, lambda: weights.float_weights(full, self.groups, self.lanes, tile.lanes))
            per_pixel, item = inputs, 4
            self._bias(tensors)
        pixel = item * per_pixel * self.groups
        dense = self.groups == 1 and self.cells[r.DILATION_X] == 1
        self.cells |= {
            r.PIXEL: pixel,
            r.TILE: tile.index,
            r.SUBTILES: self.lanes // tile.lanes,
            r.SUBTILE_WEIGHTS: made.strides[1],
            r.SEGMENTS: 1 if dense else kernel[1],
            r.SEGMENT: 0 if dense else int(self.cells[r.DILATION_X]) * pixel,  # type: ignore[call-overload]
            r.COUNT: per_pixel * kernel[1] if dense else per_pixel,
        }
        self._padding(inputs, pixel)
        return [made[i] for i in range(len(made))], item * per_pixel

    def _padding(self, inputs: int, pixel: int) -> None:
        attrs = self._attrs()
        padding = tuple(attrs.get("padding", (0, 0)))
        if padding == (0, 0):
            return
        cells: dict[int, Any] = dict(self.cells)
        chunk, pieces = cells[r.CHUNK], cells[r.PIECES]
        rows = 1 if pieces else -(-chunk // self.width) + (chunk % self.width != 0)
        columns = chunk if pieces else self.width
        height = (rows - 1) * cells[r.STRIDE_Y] + (cells[r.KERNEL_Y] - 1) * cells[r.DILATION_Y] + 1
        across = (columns - 1) * cells[r.STRIDE_X] + (cells[r.KERNEL_X] - 1) * cells[r.DILATION_X] + 1
        self.gathered = height * across * pixel
        self.cells[r.GATHER] = 1
        pad = attrs.get("pad_value", 0)
        if self.kind == r.XNOR and pad == 1:
            flags = np.zeros((self.groups, words(inputs) * WORD), np.uint8)
            flags[:, :inputs] = 1
            self.cells[r.PAD] = np.packbits(flags, axis=1, bitorder="little")
        elif self.kind == r.SIGNED and pad != 0:
            self.cells[r.PAD] = np.full(inputs * self.groups, pad, np.float32)

    def _block_table(self, addresses: list[Cell], group_offset: int) -> None:
        per_group = self.channels // self.groups
        for group in range(self.groups):
            for block in range(self.per_group):
                start = block * self.lanes
                valid = min(self.lanes, per_group - start)
                channel = group * per_group + start
                end = channel + valid
                bit_end = -(-end // WORD) * WORD if end == self.channels else end
                index = group * self.per_group + block
                self.blocks.add(
                    {
                        r.INPUT_OFFSET: group * group_offset,
                        r.WEIGHTS: addresses[index],
                        r.CHANNEL: channel,
                        r.VALID: valid,
                        r.LANE: index * self.lanes,
                        r.UNITS: -(-(bit_end - channel) // LANES),
                    }
                )

    # What follows while it is in cache.

    def _lane_values(self, values: np.ndarray, neutral: float) -> np.ndarray:
        values = np.broadcast_to(values, (*values.shape[:-1], self.channels))
        key = ("lanes", values.tobytes(), str(values.dtype), values.shape, self.groups, self.lanes, neutral)
        return self.store.once(key, lambda: weights.by_lane(values, self.groups, self.lanes, neutral))

    def _constant(self, value: float) -> np.ndarray:
        return self._lane_values(np.full(self.channels, value, np.float32), value)

    def _counted(self, bits: np.ndarray, tensors: Tensors) -> None:
        """From mismatches to sums: integers where thresholds follow, else scaled."""
        cells: dict[int, Any] = self.cells
        attrs = self._attrs()
        if attrs.get("pad_value", 0) == 0 and tuple(attrs.get("padding", (0, 0))) != (0, 0):
            pairs = (("stride", r.STRIDE_Y), ("padding", r.PADDING_Y), ("dilation", r.DILATION_Y))
            geometry = {name: (cells[at], cells[at + 1]) for name, at in pairs}
            out = (self.positions // self.width, self.width)
            found = borders.zero_padded(bits, (cells[r.IN_HEIGHT], cells[r.IN_WIDTH]), out, **geometry)
        else:
            found = borders.padded_with_signs(bits, self.positions)
        bases = self._lane_values(found.bases, 0)
        classes = (found.classes * bases.strides[0]).astype(np.int32)
        if "threshold" in tensors or any(event == "sums" for event, _ in self.step.events):
            self._pass(r.COUNTED_INTEGERS, bases, classes)
            return
        scale = tensors.get("scale", np.ones(1, np.float32))
        self._pass(r.COUNTED, bases, classes, self._lane_values(scale, 0), self._constant(1), self._constant(0))
        self._second_input()
        self._bias(tensors)

    def _scaled(self, tensors: Tensors) -> None:
        if "scale" in tensors:
            self._pass(r.SCALE, self._lane_values(tensors["scale"], 0))
        self._second_input()
        self._bias(tensors)

    def _second_input(self) -> None:
        assert self.root is not None
        for value in self.root.inputs[1:]:
            self._pass(r.ADD_MAP, self.places[value], 4 * self.channels, self._constant(1))

    def _bias(self, tensors: Tensors) -> None:
        if "bias" in tensors:
            self._pass(r.SHIFT, self._lane_values(tensors["bias"], 0))

    def _pack(self, node: Node) -> None:
        tensors = node_tensors(node, self.tensors)
        out = self.places[node.outputs[0]]
        pixel = words(self.channels) * 8
        if node.op != "sign":
            flip = self._lane_values(tensors["flip"], 0)
            threshold = self._lane_values(tensors["threshold"], NO_THRESHOLD)
            self._pass(r.PACK_SUMS, out, pixel, threshold, self._flips(flip))
            return
        threshold = tensors.get("threshold", np.zeros(1, np.float32))
        self._pass(r.PACK, out, pixel, self._lane_values(threshold, np.inf))

    def _flips(self, flip: np.ndarray) -> np.ndarray:
        return self.store.once(("flips", flip.tobytes()), lambda: weights.to_aligned(np.packbits(flip, bitorder="little")))

    def _node(self, node: Node) -> None:
        tensors = node_tensors(node, self.tensors)
        match node.op:
            case "scale_shift":
                parameters = self._lane_values(tensors["scale"], 0), self._lane_values(tensors["shift"], 0)
                self._pass(r.SCALE_SHIFT, *parameters)
            case "normalize":
                self._pass(r.NORMALIZE, self._lane_values(tensors["mean"], 0), self._lane_values(tensors["std"], 1))
            case "relu":
                self._pass(r.CLIP_BELOW, self._constant(0))
            case "hardtanh":
                low, high = (np.float32(node.attrs[name]) for name in ("min", "max"))
                self._pass(r.CLIP, self._constant(float(low)), self._constant(float(high)))
            case "prelu":
                neutral = {"shift_in": 0, "slope": 0, "slope_above": 1, "shift_out": 0}
                given = {name: tensors.get(name, np.full(1, value, np.float32)) for name, value in neutral.items()}
                self._pass(r.PRELU, *(self._lane_values(given[name], 0) for name in neutral))
            case "scale_map":
                whole = np.ascontiguousarray(tensors["scale"].transpose(1, 2, 0))
                self._pass(r.MULTIPLY_MAP, self._kept(node, whole), 4 * self.channels, self._constant(1))
            case _:
                self._join(node, tensors)

    def _kept(self, node: Node, values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([values.reshape(-1), np.zeros(64, np.float32)])
        return self.store.once(("map", prepare_key(node)), lambda: weights.to_aligned(padded))

    def _join(self, node: Node, tensors: Tensors) -> None:
        others = self.step.others[node.name]
        pixel = 4 * self.channels
        if node.op == "weighted_sum":
            scales = tensors["weight"]
            self._pass(r.SCALE, self._constant(float(scales[0])))
            for value, scale in zip(others, scales[1:], strict=True):
                self._pass(r.ADD_SCALED_MAP, self.places[value], pixel, self._constant(float(scale)))
        elif node.op == "add":
            for value in others:
                self._pass(r.ADD_MAP, self.places[value], pixel, self._constant(1))
        else:
            (factor,) = others
            if extent(self.kinds[factor])[0] == 1:
                self._pass(r.MULTIPLY_FACTOR, self.places[factor])
            else:
                self._pass(r.MULTIPLY_MAP, self.places[factor], pixel, self._constant(1))
