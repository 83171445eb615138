"""What follows on a block while it is in cache, as rows of passes."""

from collections.abc import Mapping

import numpy as np

from bnn_tasks.runtime.graph import Node
from bnn_tasks.runtime.kinds import WORD, Kind, words
from bnn_tasks.runtime.plan import node_tensors, prepare_key
from bnn_tasks.runtime.program import weights
from bnn_tasks.runtime.program.borders import Borders
from bnn_tasks.runtime.program.layout import Layout
from bnn_tasks.runtime.program.merge import Pass, merged
from bnn_tasks.runtime.program.steps import FusedStep, extent
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.table import Cell, InArena, Table
from bnn_tasks.runtime.simd import record as r

NO_THRESHOLD = np.iinfo(np.int32).max  # no sum reaches it

Tensors = dict[str, np.ndarray]


class Epilogue:
    """Collects the passes of one step.

    Args:
        step: the step.
        layout: of its output.
        tensors: of the file.
        kinds: of all values.
        places: where values lie in the arena.
        store: of the file.
    """

    def __init__(
        self,
        step: FusedStep,
        layout: Layout,
        tensors: Mapping[str, np.ndarray],
        kinds: Mapping[str, Kind],
        places: Mapping[str, Cell],
        store: Store,
    ) -> None:
        self.step, self.layout, self.tensors = step, layout, tensors
        self.kinds, self.places, self.store = kinds, places, store
        self._passes: list[Pass] = []

    @property
    def pixel(self) -> int:
        """Bytes of a pixel of the output as a real map."""
        return 4 * self.layout.channels

    def table(self) -> Table:
        """The passes, merged where one does for several."""
        out = Table(r.PASS_CELLS)
        for kind, cells in merged(self._passes, self.layout.whole, self.layout.channels % WORD != 0):
            out.add([kind, *cells])
        return out

    def _pass(self, kind: int, *cells: Cell) -> None:
        self._passes.append((kind, cells))

    def _lanes(self, values: np.ndarray, neutral: float = 0) -> np.ndarray:
        return self.layout.values(self.store, values, neutral)

    def _constant(self, value: float) -> np.ndarray:
        return self.layout.constant(self.store, value)

    def sums(self, borders: Borders, integers: bool, tensors: Tensors) -> None:
        """From mismatches to a binary layer's sums: integers, or scaled."""
        bases = self._lanes(borders.bases)
        classes = (borders.classes * bases.strides[0]).astype(np.int32)
        if integers:
            self._pass(r.COUNTED_INTEGERS, bases, classes)
            return
        scale = self._lanes(tensors.get("scale", np.ones(1, np.float32)))
        self._pass(r.COUNTED, bases, classes, scale, self._constant(1), self._constant(0))

    def scale(self, tensors: Tensors) -> None:
        """A layer's scale, where it has one."""
        if "scale" in tensors:
            self._pass(r.SCALE, self._lanes(tensors["scale"]))

    def second_and_bias(self, node: Node, tensors: Tensors) -> None:
        """A layer's second input, then its bias, where it has them."""
        for value in self.step.others[node.name][1:] if "binary" in node.op else []:
            self._pass(r.ADD_MAP, self.places[value], self.pixel, self._constant(1))
        if "bias" in tensors:
            self._pass(r.SHIFT, self._lanes(tensors["bias"]))

    def group_mean(self, source: str, channels: int) -> None:
        """The mean of the blocks of channels of a map, of which the first is loaded.

        Args:
            source: the map.
            channels: of it.
        """
        first = self.places[source]
        assert isinstance(first, InArena)
        for start in range(self.layout.channels, channels, self.layout.channels):
            self._pass(r.ADD_MAP, InArena(first.offset + 4 * start), 4 * channels, self._constant(1))
        self._pass(r.NORMALIZE, self._constant(0), self._constant(channels // self.layout.channels))

    def write(self, value: str) -> None:
        """The block's values to their map."""
        self._pass(r.WRITE, self.places[value], self.pixel)

    def write_aside(self) -> None:
        """The block's values to a map that the kernel places."""
        self._pass(r.WRITE, 0, self.pixel)

    def pack(self, node: Node, value: str) -> None:
        """Signs of the block's values, or a layer's thresholds on its sums, to their bits."""
        tensors = node_tensors(node, self.tensors)
        out, pixel = self.places[value], words(self.layout.channels) * 8
        if node.op == "sign":
            threshold = tensors.get("threshold", np.zeros(1, np.float32))
            self._pass(r.PACK, out, pixel, self._lanes(threshold, np.inf))
            return
        flip = self._lanes(tensors["flip"])
        flips = self.store.once(
            ("flips", flip.tobytes()), lambda: weights.to_aligned(np.packbits(flip, bitorder="little"))
        )
        self._pass(r.PACK_SUMS, out, pixel, self._lanes(tensors["threshold"], NO_THRESHOLD), flips)

    def node(self, node: Node) -> None:
        """An operation on the block's values."""
        tensors = node_tensors(node, self.tensors)
        match node.op:
            case "scale_shift":
                self._pass(r.SCALE_SHIFT, self._lanes(tensors["scale"]), self._lanes(tensors["shift"]))
            case "normalize":
                self._pass(r.NORMALIZE, self._lanes(tensors["mean"]), self._lanes(tensors["std"], 1))
            case "relu":
                self._pass(r.CLIP_BELOW, self._constant(0))
            case "hardtanh":
                low, high = (float(np.float32(node.attrs[name])) for name in ("min", "max"))
                self._pass(r.CLIP, self._constant(low), self._constant(high))
            case "prelu":
                neutral = {"shift_in": 0, "slope": 0, "slope_above": 1, "shift_out": 0}
                given = {name: tensors.get(name, np.full(1, value, np.float32)) for name, value in neutral.items()}
                self._pass(r.PRELU, *(self._lanes(given[name]) for name in neutral))
            case "scale_map":
                whole = np.append(tensors["scale"].transpose(1, 2, 0).reshape(-1), np.zeros(r.MAX_LANES, np.float32))
                kept = self.store.once(("map", prepare_key(node)), lambda: weights.to_aligned(whole))
                self._pass(r.MULTIPLY_MAP, kept, self.pixel, self._constant(1))
            case "weighted_sum":
                first, *rest = map(float, tensors["weight"])
                self._pass(r.SCALE, self._constant(first))
                for value, scale in zip(self.step.others[node.name], rest, strict=True):
                    self._pass(r.ADD_SCALED_MAP, self.places[value], self.pixel, self._constant(scale))
            case "add":
                for value in self.step.others[node.name]:
                    self._pass(r.ADD_MAP, self.places[value], self.pixel, self._constant(1))
            case _:
                self._multiply(node)

    def _multiply(self, node: Node) -> None:
        (factor,) = self.step.others[node.name]
        if extent(self.kinds[factor])[0] == 1:
            self._pass(r.MULTIPLY_FACTOR, self.places[factor])
        else:
            self._pass(r.MULTIPLY_MAP, self.places[factor], self.pixel, self._constant(1))
