"""Raw rows as a source gives them, and the checks that every source has to pass.

Shapes: K classes; `(rows, ...)` has one entry for each row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.data import Inputs
from fl_sv.data.dataset import IGNORED
from fl_sv.data.inputs import Input, as_ids, packed
from fl_sv.data.mapped import not_finite, taken
from fl_sv.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl

LABELS = "the labels of a classification are the integers 0, 1, 2 and so on"
NAMES = f"For classes: {LABELS}, so give each class its number."
QUANTITY = "For a target that is a quantity set `data.task: regression`."
REAL = "biuf"  # numpy's kinds of real numbers: bool, signed, unsigned, float
OWNERS = "biufU"  # and text, for columns that name an owner


@dataclass(frozen=True, eq=False)
class RawRows:
    """Rows before scaling.

    x: (rows, *input_shape), finite real numbers; it may be mapped (`fl_sv.data.mapped`).
    y: (rows, *places), finite real numbers.
    origin: the file or source, for messages.
    place: where row i stands, as its owner counts: "sales.csv, line 5", for messages.
    target: what holds y: "column 'price'", for messages.
    features: the names of the columns of x; empty when they have none.
    columns: the other columns by name, (rows,) each.
    table: columns that an `Encoding` is still to turn into x, which has none of its own until then;
        None where x is complete.
    unknown: (rows,) how many cells of a row hold a word that the encoding does not know; None where
        nothing was encoded.
    inputs: what a module is given for a row (`data.inputs`); empty for x itself, real numbers.
    held_out: (rows,) those that the source itself holds out, since they belong together; or None.
    tokenizer: sha256 of the tokenizer that made the rows of texts; None for others.
    n_classes: K, where the source knows it; else it is stated, or counted.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    origin: str
    place: Callable[[int], str]
    target: str
    features: tuple[str, ...] = ()
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    table: "pl.DataFrame | None" = None
    unknown: NDArray[np.int64] | None = None
    inputs: tuple[Input, ...] = ()
    held_out: NDArray[np.bool_] | None = None
    tokenizer: str | None = None
    n_classes: int | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> "RawRows":
        """A copy of the given rows, in that order."""
        return RawRows(
            x=taken(self.x, rows),
            y=self.y[rows],
            origin=self.origin,
            place=lambda i: self.place(int(rows[i])),
            target=self.target,
            features=self.features,
            columns={name: column[rows] for name, column in self.columns.items()},
            table=None if self.table is None else self.table[rows],
            unknown=None if self.unknown is None else self.unknown[rows],
            inputs=self.inputs,
            held_out=None if self.held_out is None else self.held_out[rows],
            tokenizer=self.tokenizer,
            n_classes=self.n_classes,
        )


def rows_of_arrays(arrays: Mapping[str, Any], origin: str, inputs: Inputs = "numbers") -> RawRows:
    """The rows in named arrays: `x`, `y`, and as a column any other array of one entry a row.

    inputs: as `data.inputs`; with names, these arrays stand in the place of x.

    Raises InputError when x or y is missing, is not numeric, is not finite, or has a shape that
    does not fit.
    """
    made: tuple[Input, ...] = ()
    if not isinstance(inputs, str):
        rows, made = packed(arrays, inputs, origin)
        arrays = {"x": rows, **{name: arrays[name] for name in arrays if name != "x"}}
    for name in ("x", "y"):
        if name not in arrays:
            raise InputError(
                f"{origin} has no array {name!r}; it has {listed(sorted(arrays)) or 'none'}. "
                "Give x (rows, ...) and y (rows,)."
            )
    x, y = (_numeric(arrays[name], name, origin) for name in ("x", "y"))
    if x.ndim < 2 or x.size == 0:
        raise InputError(
            f"{origin}: x has shape {x.shape}; it must be (rows, features) or (rows, ...), with no"
            " dimension of 0."
        )
    if y.shape[:1] != (len(x),) or y.size == 0 or (y.ndim > 1 and y.size == len(y)):
        raise InputError(
            f"{origin}: y has shape {y.shape} and x has {len(x)} rows; y must be ({len(x)},), one"
            " label or target a row, or have further dimensions for the places of a row."
        )
    for name, array in (("x", x), ("y", y)):
        count, first = not_finite(array)
        if count:
            at = ", ".join(map(str, first))
            raise InputError(
                f"{origin}: {name}[{at}] is {array[first]} ({count} such cells); every"
                " cell must be a finite number. Correct the cells or remove the rows."
            )
    others = {name: np.asarray(array) for name, array in arrays.items() if name not in ("x", "y")}
    columns = {
        name: array
        for name, array in others.items()
        if array.shape == y.shape[:1] and array.dtype.kind in OWNERS
    }
    place = "{}, row {} (index {})".format
    raw = RawRows(
        x, y, origin, lambda i: place(origin, i + 1, i), "array y", columns=columns, inputs=made
    )
    return raw if made else with_inputs(raw, inputs)


def with_inputs(raw: RawRows, inputs: Inputs) -> RawRows:
    """The rows of one array x, as `data.inputs` has them. Raises InputError where they are not."""
    if inputs == "numbers":
        return raw
    if inputs != "ids":
        packed({}, inputs, raw.origin)  # raises: there are no named arrays
    x, made = as_ids(raw.x, raw.origin)
    return replace(raw, x=x, inputs=made)


def class_labels(raw: RawRows, n_classes: int | None) -> tuple[NDArray[np.int64], int]:
    """The targets as labels (rows, *places) int64, and the number of classes K.

    n_classes: K; None takes the source's, or counts the classes that occur. At a place the label
        may be IGNORED.

    Raises InputError when a label is no integer or lies outside 0..K-1, or when counting finds a
    gap or a single class, or when nothing of a row counts.
    """
    n_classes = raw.n_classes if n_classes is None else n_classes
    ignored = raw.y == IGNORED if raw.y.ndim > 1 else np.zeros(len(raw), dtype=bool)
    allowed = LABELS if n_classes is None else f"labels are the integers 0 to {n_classes - 1}"
    _require_labels(raw, raw.y == np.floor(raw.y), allowed, QUANTITY)
    _require_labels(raw, (raw.y >= 0) | ignored, allowed, "Number the classes from 0.")
    counted = ~ignored.reshape(len(raw), -1)
    if len(empty := np.flatnonzero(~counted.any(axis=1))):
        raise InputError(
            f"{raw.place(int(empty[0]))}, {raw.target}: every place has the label {IGNORED}, so"
            f" nothing of the row counts ({len(empty):,} such rows). Remove them."
        )
    if n_classes is not None:
        advice = f"Correct it, or `data.classes`, which is {n_classes}."
        _require_labels(raw, raw.y < n_classes, allowed, advice)
        return raw.y.astype(np.int64), n_classes
    present = np.unique(raw.y[~ignored])
    if len(present) < 2:
        raise InputError(
            f"{raw.origin}, {raw.target}: every label is {present[0]:g}. Give rows of at least two"
            " classes, or set `data.classes`."
        )
    if present[-1] != len(present) - 1:
        gap = next(k for k, label in enumerate(present) if k != label)
        raise InputError(
            f"{raw.origin}, {raw.target}: the labels are"
            f" {listed([f'{label:.0f}' for label in present])}; none is {gap}. Number the classes"
            f" from 0 without a gap, or set `data.classes`. {QUANTITY}"
        )
    return raw.y.astype(np.int64), len(present)


def _require_labels(raw: RawRows, good: NDArray[np.bool_], allowed: str, advice: str) -> None:
    """Raises InputError for the first row with a label that is not `good` (rows, *places)."""
    bad = np.argwhere(~good)
    if len(bad):
        label = repr(float(raw.y[tuple(bad[0])])).removesuffix(".0")
        raise InputError(
            f"{raw.place(int(bad[0][0]))}, {raw.target}: the label {label} is no class"
            f" ({len(np.unique(bad[:, 0])):,} such rows); {allowed}. {advice}"
        )


def _numeric(value: Any, name: str, origin: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.asanyarray(value)  # a mapped one stays so
    except ValueError:
        raise InputError(
            f"{origin}: {name} has rows of different lengths; all rows must have one shape."
        ) from None
    if array.dtype.kind not in REAL:
        hint = f" {NAMES}" if name == "y" else ""
        raise InputError(f"{origin}: {name} holds {array.dtype}; it must hold real numbers.{hint}")
    return array
