"""How a step's output is cut: channels into blocks and tiles, positions into chunks."""

from dataclasses import dataclass

from bnn_tasks.runtime.simd import record as r
from bnn_tasks.runtime.simd import tiles
from bnn_tasks.runtime.simd.ir import LANES

BLOCK_LANES = (64, 48, 32, 16)
BLOCK_COST = 8  # lanes that the loops around a block are worth
POSITIONS = 64  # of a chunk: with 64 lanes 16 KiB, half a level-1 cache


@dataclass(frozen=True)
class Tile:
    """A tile of a kind of convolution.

    Attributes:
        index: in the kernels.
        positions: outputs at once.
        lanes: output channels at once.
    """

    index: int
    positions: int
    lanes: int


def _tiles(shapes: tuple[tuple[int, int], ...], column: int) -> tuple[Tile, ...]:
    return tuple(Tile(i, positions, columns * column) for i, (positions, columns) in enumerate(shapes))


TILES = {
    r.XNOR: _tiles(tiles.XNOR_SHAPES, 8 * 64 // tiles.XNOR_BITS),
    r.FLOAT: _tiles(tiles.FLOAT_SHAPES, LANES),
    r.SIGNED: _tiles(tiles.SIGNED_SHAPES, LANES),
}


def block_lanes(channels: int) -> int:
    """Lanes of a block for the output channels of one group: those that waste least."""
    return min(BLOCK_LANES, key=lambda lanes: -(-channels // lanes) * (lanes + BLOCK_COST))


def chunks(positions: int, width: int) -> tuple[int, int, int]:
    """Positions of a chunk, chunks of a row (0: chunks run on from row to row), and chunks of the map."""
    if width <= POSITIONS:
        chunk = min(positions, POSITIONS // width * width)
        return chunk, 0, -(-positions // chunk)
    pieces = -(-width // POSITIONS)
    return -(-width // pieces), pieces, positions // width * pieces


def best_tile(kind: int, lanes: int, positions: int, width: int) -> Tile:
    """The tile that fills a block of `lanes` with the fewest positions computed in vain; the widest first."""
    chunk, pieces, count = chunks(positions, width)
    sizes = [min(chunk, width - i * chunk) for i in range(pieces)] or [
        min(chunk, positions - i * chunk) for i in (0, count - 1)
    ]
    fitting = [tile for tile in TILES[kind] if lanes % tile.lanes == 0]
    widest = max(tile.lanes for tile in fitting)

    def cost(tile: Tile) -> tuple[int, int]:
        return sum(-(-size // tile.positions) * tile.positions for size in sizes), -tile.positions

    return min((tile for tile in fitting if tile.lanes == widest), key=cost)


def share_blocks(chunk_count: int, block_count: int, threads: int) -> bool:
    """Whether threads are busier when they share the blocks than when they share the chunks."""

    def busy(count: int) -> float:
        return count / (threads * -(-count // threads))

    return busy(block_count) > busy(chunk_count)
