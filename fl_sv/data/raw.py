"""Raw rows as a source gives them, and the checks that every source has to pass.

Shapes: n rows, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed

REAL = "biuf"  # numpy's kinds of real numbers: bool, signed, unsigned, float
OWNERS = "biufU"  # and text, for columns that name an owner


@dataclass(frozen=True, eq=False)
class Table:
    """Rows before scaling.

    x: finite real numbers (n, *input_shape). y: finite real numbers (n,). `columns` are the other
    columns, (n,) each, by name. `features` names the columns of x when they have names. `place(i)`
    says where row i stands, as its owner counts ("sales.csv, line 5"), and `target` what holds y
    ("column 'price'"): both are for messages."""

    x: NDArray[Any]
    y: NDArray[Any]
    origin: str
    place: Callable[[int], str]
    target: str
    features: tuple[str, ...] = ()
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> "Table":
        """A copy of the given rows, in that order."""
        return Table(
            x=self.x[rows],
            y=self.y[rows],
            origin=self.origin,
            place=lambda i: self.place(int(rows[i])),
            target=self.target,
            features=self.features,
            columns={name: column[rows] for name, column in self.columns.items()},
        )


def table_of_arrays(arrays: Mapping[str, Any], origin: str) -> Table:
    """The table in named arrays: `x`, `y`, and any other array of n entries as a column.

    Raises InputError when x or y is missing, not numeric, not finite, or of a shape that does not
    fit."""
    for name in ("x", "y"):
        if name not in arrays:
            raise InputError(
                f"{origin} has no array {name!r}; it has {listed(sorted(arrays)) or 'none'}. "
                "Give x (rows, ...) and y (rows,)."
            )
    x, y = (_numeric(arrays[name], name, origin) for name in ("x", "y"))
    if x.ndim < 2 or x.size == 0:
        raise InputError(
            f"{origin}: x has shape {x.shape}; it must be (rows, features) or (rows, ...), none of"
            " them 0."
        )
    if y.shape != (len(x),):
        raise InputError(
            f"{origin}: y has shape {y.shape} and x has {len(x)} rows; y must be ({len(x)},)."
        )
    for name, array in (("x", x), ("y", y)):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            at = ", ".join(map(str, bad[0]))
            raise InputError(
                f"{origin}: {name}[{at}] is {array[tuple(bad[0])]} ({len(bad)} such cells); every"
                " cell must be a finite number. Correct the cells or remove the rows."
            )
    others = {name: np.asarray(array) for name, array in arrays.items() if name not in ("x", "y")}
    columns = {
        name: array
        for name, array in others.items()
        if array.shape == y.shape and array.dtype.kind in OWNERS
    }
    return Table(
        x, y, origin, lambda i: f"{origin}, row {i + 1} (index {i})", "array y", columns=columns
    )


def class_labels(table: Table, n_classes: int | None) -> tuple[NDArray[np.int64], int]:
    """The targets as labels (n,) int64 and the number of classes K, counted when `n_classes` does
    not give it.

    Raises InputError when a label is no integer, is outside 0..K-1, or when counting finds a gap or
    a single class."""
    allowed = "0, 1, ... as integers" if n_classes is None else f"the integers 0 to {n_classes - 1}"
    upper = np.inf if n_classes is None else n_classes - 1
    bad = np.flatnonzero((table.y != np.floor(table.y)) | (table.y < 0) | (table.y > upper))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{table.place(row)}, {table.target}: the label {table.y[row]} is not allowed"
            f" ({len(bad)} such rows); labels are {allowed}. Number the classes from 0, set"
            " `data.classes`, or set `data.task: regression`."
        )
    if n_classes is not None:
        return table.y.astype(np.int64), n_classes
    present = np.unique(table.y)
    if len(present) < 2 or present[-1] != len(present) - 1:
        gap = next((k for k, label in enumerate(present) if k != label), len(present))
        raise InputError(
            f"{table.origin}: the labels are {listed([int(label) for label in present])}; none is"
            f" {gap}. Number at least two classes from 0 without a gap, or set `data.classes`."
        )
    return table.y.astype(np.int64), len(present)


def _numeric(value: Any, name: str, origin: str) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(
            f"{origin}: {name} has rows of different lengths; all rows must have one shape."
        ) from None
    if array.dtype.kind not in REAL:
        raise InputError(f"{origin}: {name} holds {array.dtype}; it must hold real numbers.")
    return array
