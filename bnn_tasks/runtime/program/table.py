"""Rows of int64 that the kernels read, with the cells that are known only once the arena has an address."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class InArena:
    """An address as bytes from the arena's start."""

    offset: int


Cell = int | InArena | np.ndarray  # an array stands for its address, and lives as long as the table


@dataclass
class Table:
    """Rows of cells under construction.

    Attributes:
        width: cells of a row.
    """

    width: int
    _rows: list[Mapping[int, Cell]] = field(default_factory=list)

    def add(self, row: Mapping[int, Cell] | Iterable[Cell]) -> None:
        """Append a row; cells not named are 0."""
        self._rows.append(row if isinstance(row, Mapping) else dict(enumerate(row)))

    def __len__(self) -> int:
        """Rows."""
        return len(self._rows)

    def bind(self, arena: int) -> np.ndarray:
        """The rows, int64 (rows, width), for an arena at an address."""
        out = np.zeros((len(self._rows), self.width), np.int64)
        for row, cells in enumerate(self._rows):
            for column, cell in cells.items():
                out[row, column] = _number(cell, arena)
        return out


def _number(cell: Cell, arena: int) -> int:
    if isinstance(cell, InArena):
        return arena + cell.offset
    return cell.ctypes.data if isinstance(cell, np.ndarray) else cell
