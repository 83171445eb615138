"""Which nodes of a graph run together: each step starts at one node and takes along what can follow it in cache."""

from collections.abc import Iterable, Mapping

import numpy as np

from bnn_tasks.runtime.graph import Graph, Node
from bnn_tasks.runtime.kinds import WORD, BitMap, FloatMap, Kind, Vector
from bnn_tasks.runtime.plan import node_tensors, schedule
from bnn_tasks.runtime.program.layers import InputWindows, block_groups, is_depthwise, kernel_of
from bnn_tasks.runtime.program.steps import (
    FIXED,
    AnyStep,
    BitPoolStep,
    ClassMapStep,
    FusedStep,
    JoinStep,
    LoneNode,
    extent,
)
from bnn_tasks.runtime.program.tiling import POSITIONS
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.ir import LANES

LAYERS = frozenset(
    {"conv2d", "linear", "binary_conv2d", "binary_linear", "binary_weight_conv2d", "binary_weight_linear"}
)
RESIZES = frozenset({"resize_nearest", "resize_bilinear"})  # of a second input they need the size alone
ROOTS = LAYERS | RESIZES | {"max_pool2d", "avg_pool2d", "global_avg_pool", "channel_group_mean"}
CHANNELWISE = frozenset({"normalize", "scale_shift", "relu", "hardtanh", "prelu"})
JOINING = frozenset({"add", "multiply", "scale_map", "weighted_sum"})
ALIASES = frozenset({"flatten"})
MONOTONE = frozenset({"scale_shift", "hardtanh", "relu"})  # in every channel, rising or falling
POOLS = frozenset({"max_pool2d", "avg_pool2d"})
BORDER_CELLS = 1 << 24  # of the table of what accumulators start from; a 7 × 7 kernel has 225 rows at most
GATHERED_BYTES = 1 << 26  # of a chunk's windows
MEAN_GROUPS = 64  # each is a pass
POOLED_BYTES = 1 << 19  # a smaller map stays in a core's level-2 cache


def packs_whole_words(channels: int, groups: int) -> bool:
    """Whether the packed form of several groups is that of one."""
    return groups == 1 or channels // groups % WORD == 0


def has_kernel(node: Node, tensors: Mapping[str, np.ndarray], source: Kind, made: Kind) -> bool:
    """Whether a layer's gathered windows and borders keep to `GATHERED_BYTES` and `BORDER_CELLS`: all but odd ones do.

    Args:
        node: the layer.
        tensors: its own.
        source: kind of its input.
        made: kind of its output.
    """
    assert isinstance(source, FIXED)
    _, in_height, in_width = extent(source)
    channels, height, width = extent(made)
    windows = InputWindows.of(node, (in_height, in_width), kernel_of(node, tensors))
    if windows.padding == (0, 0) or is_depthwise(node, tensors):  # nothing is gathered
        return True
    pixels = windows.gathered(min(height, max(1, POSITIONS // width)), min(width, POSITIONS))
    if pixels * (source.nbytes // (in_height * in_width)) > GATHERED_BYTES:
        return False
    kh, kw = windows.kernel
    borders = min(height, 2 * kh + 1) * min(width, 2 * kw + 1)
    return node.op != "binary_conv2d" or borders * max(channels + r.MAX_LANES, kh * kw) <= BORDER_CELLS


class Fuser:
    """Fuses the nodes that some values need.

    Args:
        graph: checked.
        tensors: of the file.
        kinds: of all values at the input size.
        wanted: values that must lie in memory at the end.
    """

    def __init__(
        self, graph: Graph, tensors: Mapping[str, np.ndarray], kinds: Mapping[str, Kind], wanted: Iterable[str]
    ):
        self.tensors, self.kinds, self.wanted = tensors, dict(kinds), set(wanted)
        self.aliases: dict[str, str] = {}
        self._nodes = [step.node for step in schedule(graph, self.wanted)]
        self._users: dict[str, list[Node]] = {}
        self._taken: set[str] = set()
        self._ready = {graph.input_name}
        self._bit_pools: list[BitPoolStep] = []
        for node in self._nodes:
            if self._is_alias(node):
                self.aliases[node.outputs[0]] = self.resolve(node.inputs[0])
        for node in self._nodes:
            if not self._is_alias(node):
                for value in dict.fromkeys(self.resolve(v) for v in node.inputs):
                    self._users.setdefault(value, []).append(node)
        self.wanted = {self.resolve(value) for value in self.wanted}

    def resolve(self, value: str) -> str:
        """The value that lies where `value` does."""
        return self.aliases.get(value, value)

    def _is_alias(self, node: Node) -> bool:
        kind = self.kinds[node.inputs[0]] if node.inputs else None
        return node.op in ALIASES and isinstance(kind, FloatMap) and (kind.height, kind.width) == (1, 1)

    def steps(self) -> list[AnyStep]:
        """The steps in the order they run."""
        made: list[AnyStep] = []
        for node in self._nodes:
            if node.name in self._taken or self._is_alias(node):
                continue
            if node.op == "concat":
                made += self._join(node)
                self._ready.update(node.outputs)
                continue
            for step in (self._start(node), *self._bit_pools):
                self._ready.update(step.writes)
                made.append(step)
            self._bit_pools = []
        return made

    def _start(self, node: Node) -> AnyStep:
        source = self.resolve(node.inputs[0]) if node.inputs else ""
        if node.op == "max_pool2d" and (chain := self._to_sign(node, 1)):
            step = FusedStep(source)
            self._pool_signs(step, node, chain, source)
            return step
        if node.op == "resize_bilinear" and (reader := self._only_argmax(node)):
            self._taken |= {node.name, reader.name}
            return ClassMapStep(source, node, reader)
        if node.op in ROOTS and self._can_be_root(node):
            step = FusedStep(None)
            self._take(step, node, "node")
            groups = self._groups(node)
            if "threshold" in node.tensors and node.op in LAYERS:
                step.events.append(("threshold", node, node.outputs[0]))
                return step
            self._follow(step, node.outputs[0], groups)
            return step
        if isinstance(self.kinds.get(source), FloatMap | Vector):
            step = FusedStep(source)
            if node.op == "sign" and self._can_pack(node, 1):
                self._take(step, node, "pack", source)
                return step
            if self._can_follow(node, source):
                self._take(step, node, "node", source)
                self._follow(step, node.outputs[0], 1)
                return step
        self._taken.add(node.name)
        return LoneNode(node, {self.resolve(value) for value in node.inputs})

    def _take(self, step: FusedStep, node: Node, event: str, value: str | None = None) -> None:
        self._taken.add(node.name)
        read = map(self.resolve, node.inputs[:1] if node.op in RESIZES else node.inputs)
        step.others[node.name] = [v for v in read if event == "pool" or v != value]
        step.nodes.append(node)
        step.events.append((event, node, node.outputs[0]))

    def _join(self, node: Node) -> list[JoinStep]:
        sources = [self.resolve(value) for value in node.inputs]
        counts = [extent(self.kinds[value])[0] for value in sources]
        return [JoinStep(value, node, sum(counts[:index])) for index, value in enumerate(sources)]

    def _only_argmax(self, node: Node) -> Node | None:
        """The argmax that is all that reads a node's value."""
        users = self._users.get(node.outputs[0], [])
        alone = len(users) == 1 and users[0].op == "argmax" and node.outputs[0] not in self.wanted
        return users[0] if alone else None

    def _groups(self, node: Node) -> int:
        return block_groups(node, node_tensors(node, self.tensors)) if node.op in LAYERS else 1

    def _can_be_root(self, node: Node) -> bool:
        """Everything but means of very many groups, thresholds whose bits do not fall on whole units, odd layers."""
        if node.op == "channel_group_mean":
            return extent(self.kinds[node.inputs[0]])[0] <= MEAN_GROUPS * int(node.attrs["channels"])
        if node.op not in LAYERS:
            return True
        channels = self.tensors[node.tensors["weight"]].shape[0]
        if "threshold" in node.tensors:
            groups = self._groups(node)
            aligned = groups == 1 or channels // groups % LANES == 0
            if not aligned or not packs_whole_words(channels, int(node.attrs.get("out_groups", 1))):
                return False
        source, made = self.kinds[node.inputs[0]], self.kinds[node.outputs[0]]
        return has_kernel(node, node_tensors(node, self.tensors), source, made)

    def _can_pack(self, node: Node, groups: int) -> bool:
        channels = extent(self.kinds[node.inputs[0]])[0]
        aligned = groups == 1 or channels // groups % LANES == 0
        return aligned and packs_whole_words(channels, int(node.attrs["groups"]))

    def _follow(self, step: FusedStep, value: str, groups: int) -> None:
        """Take along what reads a value that is in cache, as far as that goes."""
        while True:
            rest = []
            for user in self._users.get(value, []):
                if user.op == "sign" and self._can_pack(user, groups):
                    self._take(step, user, "pack", value)
                else:
                    rest.append(user)
            if value not in self.wanted and len(rest) == 1 and (chain := self._to_sign(rest[0], groups)):
                self._pool_signs(step, rest[0], chain, value)
                return
            if value not in self.wanted and self._can_pool(step, rest, value):
                self._take(step, rest[0], "pool", value)
                value, groups = rest[0].outputs[0], 1
                continue
            following = next((user for user in rest if self._can_follow(user, value)), None)
            if value in self.wanted or len(rest) > (following is not None):
                step.events.append(("write", None, value))
            if following is None:
                return
            self._take(step, following, "node", value)
            value = following.outputs[0]

    def _to_sign(self, pool: Node, groups: int) -> list[Node]:
        """The nodes from a max-pool to the one sign that it runs into, if all between is monotone; else nothing."""
        chain: list[Node] = []
        value = pool.outputs[0]
        # Without dilation every window has a tap.
        while pool.op == "max_pool2d" and list(pool.attrs["dilation"]) == [1, 1] and value not in self.wanted:
            users = self._users.get(value, [])
            if len(users) != 1:
                break
            chain += users
            if users[0].op == "sign":
                return chain if self._can_pack(users[0], groups) else []
            if users[0].op not in MONOTONE:
                break
            value = users[0].outputs[0]
        return []

    def _pool_signs(self, step: FusedStep, pool: Node, chain: list[Node], value: str) -> None:
        """Take signs before the pool, which then runs on bits."""
        *between, sign = chain
        self._taken.add(pool.name)
        channels, height, width = extent(self.kinds[value])
        rising = np.ones(channels, bool)
        for node in between:
            self._take(step, node, "node", self.resolve(node.inputs[0]))
            if node.op == "scale_shift":
                rising ^= self.tensors[node.tensors["scale"]] < 0
        self._take(step, sign, "pack", self.resolve(sign.inputs[0]))
        bits = f"{sign.outputs[0]}\n{pool.name}"  # no name of a file: those are printable
        step.events[-1] = ("pack", sign, bits)
        self.kinds[bits] = BitMap(channels, sign.attrs["groups"], height, width)
        self._bit_pools.append(BitPoolStep(bits, pool, sign.outputs[0], rising))

    def _can_pool(self, step: FusedStep, users: list[Node], value: str) -> bool:
        """Whether a layer's map is large, and pooled and nothing else: then its rows are pooled as they are made."""
        if len(users) != 1 or users[0].op not in POOLS:
            return False
        layer = step.source is None and step.nodes[0].op in LAYERS
        large = isinstance(self.kinds[value], FloatMap) and self.kinds[value].nbytes >= POOLED_BYTES
        return layer and large and all(event == "node" for event, *_ in step.events)

    def _can_follow(self, node: Node, value: str) -> bool:
        """Whether a node can run on blocks of `value`, all else that it reads being in memory."""
        inputs = [self.resolve(v) for v in node.inputs]
        if node.op in CHANNELWISE or node.op == "scale_map":
            return True
        if node.op not in JOINING:
            return False
        others = [v for v in inputs if v != value]
        if len(others) != len(inputs) - 1 or not self._ready.issuperset(others):
            return False
        if node.op == "add":  # from left to right: only the first two commute
            return value in inputs[:2]
        if node.op == "weighted_sum":
            return value == inputs[0]
        channels, factors = (extent(self.kinds[v])[0] for v in inputs)
        return value == inputs[0] and factors in (1, channels)
