"""All cells of a table that cannot be used, in one message."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MOST_SHOWN = 20  # cells in one message
MOST_LETTERS = 40  # of a cell


class Places(Protocol):
    """Where the rows of a table stand, as their owner counts."""

    def places(self, rows: Iterable[int]) -> list[str]: ...

    def __call__(self, row: int) -> str: ...


@dataclass(frozen=True)
class Numbered:
    """Rows that are counted from 1."""

    path: str

    def places(self, rows: Iterable[int]) -> list[str]:
        return [self(row) for row in rows]

    def __call__(self, row: int) -> str:
        return f"{self.path}, row {row + 1}"


@dataclass(frozen=True, eq=False)
class BadCells:
    """The cells of one column that cannot be used.

    column: its name. rows: the rows in which they stand, ascending.
    cell: the content of a row's cell; empty or None where there is none.
    advice: what to do about such a cell; empty where the message says it at its end.
    """

    column: str
    rows: NDArray[np.integer]
    cell: Callable[[int], object]
    advice: Callable[[str], str] = lambda cell: ""

    def found(self, row: int) -> str:
        cell = self.cell(row)
        return "the cell is empty" if cell in (None, "") else f"found {str(cell)[:MOST_LETTERS]!r}"


def message(bad: Sequence[BadCells], places: Places, demand: str) -> str:
    """What is wrong with the first twenty cells, each with its place, and how many there are.

    Every column with a bad cell has one among them where there are at most twenty such columns.

    demand: what every cell must be, and what to do.
    """
    bad = [column for column in bad if len(column.rows)]
    count = sum(len(column.rows) for column in bad)
    shown = _first(bad)
    at = places.places(row for row, _ in shown)
    lines = []
    for place, (row, column) in zip(at, shown, strict=True):
        cell = column.cell(row)
        advice = column.advice("" if cell is None else str(cell))
        lines.append(f"{place}, column {column.column!r}: {column.found(row)}{advice}")
    lines[0] += f" ({count:,} such cells); {demand}"
    if count > len(shown):
        lines.append(f"and {count - len(shown):,} more such cells.")
    return "\n".join(lines)


def _first(bad: Sequence[BadCells]) -> list[tuple[int, BadCells]]:
    """At most twenty cells: the first of each column, then the second, in the order of the file."""
    depth = 0
    picked: list[tuple[int, int]] = []
    while len(picked) < MOST_SHOWN:
        deeper = [
            (int(column.rows[depth]), number)
            for number, column in enumerate(bad)
            if depth < len(column.rows)
        ]
        if not deeper:
            break
        picked += deeper[: MOST_SHOWN - len(picked)]
        depth += 1
    return [(row, bad[number]) for row, number in sorted(picked)]
