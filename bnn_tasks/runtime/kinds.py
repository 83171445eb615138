"""What a value of the graph is, known before anything runs: kinds and their sizes.

A side of None is not known yet: it belongs to a graph that fixes no input size, and agrees with every other side.
"""

from dataclasses import dataclass

WORD = 64  # channels in one packed word

Side = int | None


def words(channels: int) -> int:
    """Packed words that `channels` >= 1 channels take."""
    return -(-channels // WORD)


def known(side: Side) -> int:
    """The side of a map whose input size is fixed by now."""
    assert side is not None
    return side


def agree(a: Side, b: Side) -> bool:
    """Whether two sides can be equal."""
    return a is None or b is None or a == b


@dataclass(frozen=True)
class FloatMap:
    """Float32 feature map; in memory [H, W, C]."""

    channels: int
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return known(self.height), known(self.width), self.channels

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 4 * self.channels * known(self.height) * known(self.width)


@dataclass(frozen=True)
class BitMap:
    """Packed signs; in memory uint64 [H, W, groups * words], each group's tail bits 0. Bit 1 is +1."""

    channels: int
    groups: int
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return known(self.height), known(self.width), self.groups * words(self.channels // self.groups)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 8 * known(self.height) * known(self.width) * self.groups * words(self.channels // self.groups)


@dataclass(frozen=True)
class PatchBits:
    """Packed signs of the patch under every output pixel; a tap outside a zero-padded image has none.

    In memory uint64 [H, W, (groups + 1) * words]: each group's signs, then once which taps are inside; tail bits 0.
    `channels` are taps: those of one patch, of all groups.
    """

    channels: int
    groups: int
    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return known(self.height), known(self.width), (self.groups + 1) * words(self.channels // self.groups)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 8 * known(self.height) * known(self.width) * (self.groups + 1) * words(self.channels // self.groups)


@dataclass(frozen=True)
class Vector:
    """Float32 (C,)."""

    channels: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return (known(self.channels),)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 4 * known(self.channels)


@dataclass(frozen=True)
class BitVector:
    """Packed signs of a vector; in memory uint64 (words,)."""

    channels: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return (words(known(self.channels)),)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 8 * words(known(self.channels))


@dataclass(frozen=True)
class Boxes:
    """Exactly `count` boxes, float32 (count, 4) xyxy in canvas pixels."""

    count: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return known(self.count), 4

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return 16 * known(self.count)


@dataclass(frozen=True)
class ClassMap:
    """The class of every pixel, uint8 [H, W]."""

    height: Side
    width: Side

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in memory."""
        return known(self.height), known(self.width)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return known(self.height) * known(self.width)


@dataclass(frozen=True)
class _Found:
    """One value for each detection; how many there are, at most `limit`, depends on the image."""

    limit: int

    @property
    def nbytes(self) -> int:
        """Bytes in memory, at most."""
        return 16 * self.limit


@dataclass(frozen=True)
class FoundBoxes(_Found):
    """Float32 (n, 4) xyxy in canvas pixels."""


@dataclass(frozen=True)
class FoundScores(_Found):
    """Float32 (n,) in [0, 1]."""


@dataclass(frozen=True)
class FoundLabels(_Found):
    """Int64 (n,), 0-based."""


Kind = FloatMap | BitMap | PatchBits | Vector | BitVector | Boxes | ClassMap | FoundBoxes | FoundScores | FoundLabels
