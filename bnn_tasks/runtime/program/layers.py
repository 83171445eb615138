"""A layer's weights and windows, as cells of a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import WORD, words
from bnn_tasks.runtime.plan import prepare_key
from bnn_tasks.runtime.program import weights
from bnn_tasks.runtime.program.layout import Layout
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.table import Cell
from bnn_tasks.runtime.program.tiling import best_tile
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.tiles import XNOR_BITS

AT_ONCE_BYTES = 1 << 15  # gathered windows that keep to a level-1 cache, or near it


@dataclass(frozen=True)
class InputWindows:
    """A layer's or pool's windows; `size` is that of the map which they are over."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, node: Node, size: tuple[int, int], kernel: tuple[int, int] = (1, 1)) -> "InputWindows":
        """The windows of a node; `kernel` where its attributes do not name it."""
        names = ("stride", "padding", "dilation")
        given = {name: tuple(node.attrs[name]) for name in names if name in node.attrs}
        return cls(size, tuple(node.attrs.get("kernel", kernel)), **given)

    def cells(self) -> dict[int, Cell]:
        """As cells."""
        pairs = {
            (r.IN_HEIGHT, r.IN_WIDTH): self.size,
            (r.KERNEL_Y, r.KERNEL_X): self.kernel,
            (r.STRIDE_Y, r.STRIDE_X): self.stride,
            (r.PADDING_Y, r.PADDING_X): self.padding,
            (r.DILATION_Y, r.DILATION_X): self.dilation,
        }
        return {cell: value for names, values in pairs.items() for cell, value in zip(names, values, strict=True)}

    def reach(self, rows: int, columns: int) -> tuple[int, int]:
        """Input pixels under windows of some output rows and columns."""
        height, width = (
            (count - 1) * self.stride[i] + (self.kernel[i] - 1) * self.dilation[i] + 1
            for i, count in enumerate((rows, columns))
        )
        return height, width

    def gathered(self, rows: int, columns: int) -> int:
        """Input pixels that are gathered for some output rows and columns: rows between those of dilated taps are left out."""
        span = (rows - 1) * self.stride[0] + 1
        height = (self.kernel[0] - 1) * min(self.dilation[0], span) + span
        return height * self.reach(1, columns)[1]


@dataclass(frozen=True)
class EncodedLayer:
    """What a layer adds to a step.

    Attributes:
        cells: of the step.
        addresses: of every block's weights.
        group_offset: bytes from group to group in an input pixel.
        gathered: bytes of scratch for gathered windows.
        bits: weights as 0 and 1, (O, I, kh, kw); None for real weights.
    """

    cells: dict[int, Cell]
    addresses: list[Cell]
    group_offset: int
    gathered: int
    bits: np.ndarray | None


def kernel_of(node: Node, tensors: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Kernel height and width of a layer; a linear layer's is 1 × 1."""
    if "binary" in node.op:
        height, width = node.attrs.get("kernel", (1, 1))
    else:
        height, width = tensors["weight"].shape[2:] or (1, 1)
    return height, width


def is_depthwise(node: Node, tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether a layer is a real convolution of as many groups as inputs and outputs, which has a kernel of its own."""
    groups = node.attrs.get("groups", 1)
    return node.op == "conv2d" and groups > 1 and tensors["weight"].shape[:2] == (groups, 1)


def block_groups(node: Node, tensors: Mapping[str, np.ndarray]) -> int:
    """Groups that keep to blocks of their own; the channels of a depthwise layer lie side by side as those of one."""
    return 1 if is_depthwise(node, tensors) else int(node.attrs.get("groups", 1))


def encode_depthwise(node: Node, tensors: Mapping[str, np.ndarray], layout: Layout, store: Store) -> EncodedLayer:
    """Weights lane by lane; windows are read where they lie.

    Args:
        node: the layer.
        tensors: its own.
        layout: of the output.
        store: of the file.
    """
    weight = tensors["weight"]
    key = ("depthwise", prepare_key(node), layout.lanes)
    made = store.once(key, lambda: weights.depthwise_weights(weight, layout.lanes))
    return EncodedLayer({}, [made[i] for i in range(len(made))], 0, 0, None)


def encode_layer(
    kind: int,
    node: Node,
    tensors: Mapping[str, np.ndarray],
    channels: int,
    windows: InputWindows,
    layout: Layout,
    store: Store,
) -> EncodedLayer:
    """Weights in the tiles' layout, and how windows are read.

    Args:
        kind: XNOR, FLOAT or SIGNED.
        node: the layer.
        tensors: its own.
        channels: of the input.
        windows: of the layer.
        layout: of the output.
        store: of the file.
    """
    inputs = channels // layout.groups
    tile = best_tile(kind, layout.lanes, layout.positions, layout.width)
    key = (prepare_key(node), layout.lanes, tile.lanes)
    bits = None
    shape = layout.groups, layout.lanes, tile.lanes
    if kind == r.FLOAT:
        weight = tensors["weight"].reshape(layout.channels, inputs, *windows.kernel)
        made = store.once(key, lambda: weights.float_weights(weight, *shape))
    else:
        bits = flags = weights.unpack(tensors["weight"], inputs, windows.kernel)
        tiled = weights.xnor_weights if kind == r.XNOR else weights.signed_weights
        made = store.once(key, lambda: tiled(flags, *shape))
    per_pixel, item = (words(inputs) * WORD // XNOR_BITS, XNOR_BITS // 8) if kind == r.XNOR else (inputs, 4)
    pixel = item * per_pixel * layout.groups
    dense = layout.groups == 1 and windows.dilation[1] == 1
    cells: dict[int, Cell] = {
        r.PIXEL: pixel,
        r.TILE: tile.index,
        r.SUBTILES: layout.lanes // tile.lanes,
        r.SUBTILE_WEIGHTS: made.strides[1],
        r.SEGMENTS: 1 if dense else windows.kernel[1],
        r.SEGMENT: 0 if dense else windows.dilation[1] * pixel,
        r.COUNT: per_pixel * windows.kernel[1] if dense else per_pixel,
    }
    gathered = 0
    if windows.padding != (0, 0):
        gathered, at_once = _gathered(windows, layout, pixel)
        cells |= {
            r.GATHER: r.AT_ONCE if at_once else r.BY_CHUNK,
            r.PAD: _padding(kind, node.attrs.get("pad_value", 0), inputs, layout.groups),
        }
    return EncodedLayer(cells, [made[i] for i in range(len(made))], item * per_pixel, gathered, bits)


def _gathered(windows: InputWindows, layout: Layout, pixel: int) -> tuple[int, bool]:
    """Most bytes of gathered windows, and whether all of a thread's are gathered at once."""
    chunk, pieces, _ = layout.chunks

    def size(rows: int, columns: int) -> int:
        return windows.gathered(rows, columns) * pixel

    everything = size(layout.positions // layout.width, layout.width)
    if not pieces and everything <= AT_ONCE_BYTES:
        return everything, True
    return size(1, chunk) if pieces else size(chunk // layout.width, layout.width), False


def _padding(kind: int, value: Any, inputs: int, groups: int) -> Cell:
    """A pixel of padding, 0 where that is zeros: packed -1, or nothing."""
    if kind == r.XNOR and value == 1:
        flags = np.zeros((groups, words(inputs) * WORD), np.uint8)
        flags[:, :inputs] = 1
        return np.packbits(flags, axis=1, bitorder="little")
    return np.full(inputs * groups, value, np.float32) if kind == r.SIGNED and value != 0 else 0
