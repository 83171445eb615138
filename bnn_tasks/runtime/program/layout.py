"""How a step's output lies in blocks and lanes."""

from dataclasses import dataclass

import numpy as np

from bnn_tasks.runtime.kinds import WORD
from bnn_tasks.runtime.program import weights
from bnn_tasks.runtime.program.store import Store
from bnn_tasks.runtime.program.table import Cell, Table
from bnn_tasks.runtime.program.tiling import block_lanes, chunks
from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd.ir import LANES


@dataclass(frozen=True)
class Layout:
    """Channels of a map on the lanes of blocks; a block has channels of one group.

    Attributes:
        channels: of the map.
        groups: of the layer that makes it.
        positions: of the map.
        width: of the map, pixels.
    """

    channels: int
    groups: int
    positions: int
    width: int

    @property
    def lanes(self) -> int:
        """Lanes of a block."""
        return block_lanes(self.channels // self.groups)

    @property
    def blocks_per_group(self) -> int:
        """Blocks of a group."""
        return -(-(self.channels // self.groups) // self.lanes)

    @property
    def blocks(self) -> int:
        """Blocks of all groups."""
        return self.groups * self.blocks_per_group

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Positions of a chunk, chunks of a row (0: chunks run on from row to row), and chunks of the map."""
        return chunks(self.positions, self.width)

    @property
    def whole(self) -> bool:
        """Whether every lane is a channel."""
        return self.channels % (self.groups * self.lanes) == 0

    def values(self, store: Store, given: np.ndarray, neutral: float) -> np.ndarray:
        """Values of the channels, (O), (1) for all alike, or (n, O), lane by lane."""
        full = np.broadcast_to(given, (*given.shape[:-1], self.channels))
        key = ("lanes", full.tobytes(), str(full.dtype), full.shape, self.groups, self.lanes, neutral)
        return store.once(key, lambda: weights.by_lane(full, self.groups, self.lanes, neutral))

    def constant(self, store: Store, value: float) -> np.ndarray:
        """One value on all lanes."""
        return self.values(store, np.full(self.channels, value, np.float32), value)

    def table(self, addresses: list[Cell], group_offset: int) -> Table:
        """The block table.

        Args:
            addresses: of every block's weights; empty where there are none.
            group_offset: bytes from group to group in an input pixel.
        """
        out = Table(r.BLOCK_CELLS)
        per_group = self.channels // self.groups
        for index in range(self.blocks):
            group, start = index // self.blocks_per_group, index % self.blocks_per_group * self.lanes
            channel, valid = group * per_group + start, min(self.lanes, per_group - start)
            end = channel + valid
            bit_end = -(-end // WORD) * WORD if end == self.channels else end
            out.add(
                {
                    r.INPUT_OFFSET: group * group_offset,
                    r.WEIGHTS: addresses[index] if addresses else 0,
                    r.CHANNEL: channel,
                    r.VALID: valid,
                    r.LANE: index * self.lanes,
                    r.UNITS: -(-(bit_end - channel) // LANES),
                }
            )
        return out
