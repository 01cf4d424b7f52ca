"""A table whose columns the config describes: every cell is read as its column's kind demands.

What comes out has numbers in its columns, and texts in those of categories and ordinals, null where
a cell was empty. `fl_sv.data.encoding` makes features of them.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.columns import (
    Boolean,
    Category,
    Column,
    Csv,
    Date,
    Ignore,
    Label,
    Numeric,
    Ordinal,
)
from fl_sv.data.cells import advice, ambiguous, numbers, stripped, without_unit
from fl_sv.data.dates import MONTHS
from fl_sv.data.faults import BadCells, Places, message
from fl_sv.errors import InputError, listed, suggestion

if TYPE_CHECKING:
    import polars as pl

NUMBER = Numeric(kind="numeric")  # what a column is that the config does not describe
DEMAND = (
    "`data.columns` and `data.csv` say what a cell may be. Correct the cells, remove the rows, or"
    " describe the columns as they are."
)
NO_EMPTY_CELL = ", and `missing` of this column is refuse"


@dataclass(frozen=True, eq=False)
class Read:
    """What was read of one column.

    cells: one or more columns without bad cells. bad: the rows in which a cell cannot be used.
    advice: continues the sentence that quotes such a cell.
    """

    cells: "Sequence[pl.Series]"
    bad: NDArray[np.bool_]
    advice: Callable[[str], str]


def read_table(
    frame: "pl.DataFrame",
    places: Places,
    path: str,
    kinds: Mapping[str, Column],
    csv: Csv,
) -> "pl.DataFrame":
    """The columns that `kinds` names, each as its kind demands. Ignored ones are dropped.

    frame: as it was read from the file. A label becomes the number of its class, a date one column
    for each of its parts.

    Raises InputError that names all columns that are missing or of a type that is no such kind, and
    the first cells that cannot be used.
    """
    import polars as pl

    kinds = {name: kind for name, kind in kinds.items() if not isinstance(kind, Ignore)}
    _require_columns(frame, path, kinds)
    _require_own_names(path, kinds)
    frame = stripped(frame.select(*kinds), csv)
    unit_of = {name: kind.unit for name, kind in kinds.items() if isinstance(kind, Numeric)}
    bare = pl.DataFrame([without_unit(frame[name], unit) for name, unit in unit_of.items()])
    found = numbers(bare, csv)
    number_of = dict(zip(unit_of, found.T, strict=True))
    columns: list[pl.Series] = []
    bad: list[BadCells] = []
    for name, kind in kinds.items():
        if name in number_of and np.isfinite(number_of[name]).all():
            columns.append(pl.Series(name, number_of[name]))
            continue
        cells = frame[name]
        read = _read(cells, kind, number_of.get(name), csv)
        is_empty = _is_empty(cells)
        if getattr(kind, "missing", "refuse") != "refuse":
            is_bad = read.bad & ~is_empty
        else:
            is_bad = read.bad | is_empty
        columns += read.cells
        if is_bad.any():
            bad.append(BadCells(name, np.flatnonzero(is_bad), cells.__getitem__, read.advice))
    bad += ambiguous(bare, found, csv)
    if bad:
        raise InputError(message(bad, places, DEMAND))
    return pl.DataFrame({column.name: column for column in columns})  # names may be empty


def parts(name: str, kind: Column) -> list[str]:
    """The names of the columns that `read_table` makes of one column."""
    return [f"{name}.{part}" for part in kind.parts] if isinstance(kind, Date) else [name]


def _require_columns(frame: "pl.DataFrame", path: str, kinds: Mapping[str, Column]) -> None:
    there = {*frame.columns}
    lacking = [name for name in kinds if name not in there]
    if lacking:
        raise InputError(
            f"{path} has no column {listed([repr(name) for name in lacking], 20)}, which"
            f" `data.columns` describes. {suggestion(lacking[0], frame.columns)}"
        )
    schema = frame.schema
    wrong = [
        f"column {name!r} has the type {schema[name]}, which is not {kind.kind}"
        for name, kind in kinds.items()
        if not _may_be(schema[name], kind)
    ]
    if wrong:
        raise InputError(f"{path}: {listed(wrong, 20)}. Convert the columns, or ignore them.")


def _require_own_names(path: str, kinds: Mapping[str, Column]) -> None:
    counts = Counter(part for name, kind in kinds.items() for part in parts(name, kind))
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(
            f"{path}: a part of a date and another column both have the name {twice[0]!r}. Rename"
            " the column."
        )


def _may_be(dtype: "pl.DataType", kind: Column) -> bool:
    """Whether a column of this type may be of this kind. A .csv holds nothing but texts."""
    import polars as pl

    if isinstance(kind, Date):
        return isinstance(dtype, pl.String | pl.Date | pl.Datetime)
    if isinstance(kind, Numeric | Boolean):
        return dtype.is_numeric() or isinstance(dtype, pl.String | pl.Boolean | pl.Null)
    words = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    return dtype.is_integer() or isinstance(dtype, words)


def _is_empty(cells: "pl.Series") -> NDArray[np.bool_]:
    """Which cells hold nothing: no text, or a number that is none, as pandas writes it."""
    import polars as pl

    empty = cells.is_null()
    if cells.dtype == pl.String:
        empty |= (cells == "").fill_null(True)
    elif cells.dtype.is_float():
        empty |= cells.is_nan().fill_null(True)
    found: NDArray[np.bool_] = empty.to_numpy()
    return found


def _read(cells: "pl.Series", kind: Column, found: NDArray[np.float64] | None, csv: Csv) -> Read:
    """One column. found: (rows,) its cells as numbers, where it is numeric."""
    import polars as pl

    match kind:
        case Numeric():
            assert found is not None
            series = pl.Series(cells.name, found, nan_to_null=True)
            return Read(
                [series],
                ~np.isfinite(found),
                lambda cell: _about(cell, kind, csv) if cell else NO_EMPTY_CELL,
            )
        case Boolean():
            return _truth(cells, kind)
        case Date():
            return _date(cells, kind)
        case Label():
            return _label(cells, kind)
        case Category() | Ordinal():
            words = _words(cells)
            return Read([words], words.is_null().to_numpy(), lambda cell: NO_EMPTY_CELL)
        case Ignore():
            raise AssertionError("ignored columns are dropped before")


def _about(cell: str, kind: Numeric, csv: Csv) -> str:
    if kind.unit is not None and kind.unit not in cell:
        return f", which lacks the unit {kind.unit!r} of the column"
    return advice(cell, csv)


def _words(cells: "pl.Series") -> "pl.Series":
    """The cells as texts, null where they are empty."""
    import polars as pl

    words = cells.cast(pl.String)
    return words.set((words == "").fill_null(False), None)


def _truth(cells: "pl.Series", kind: Boolean) -> Read:
    import polars as pl

    yes, no = ([word.lower() for word in words] for words in (kind.yes, kind.no))
    words = _words(cells).str.to_lowercase()
    if cells.dtype.is_float():  # 1.0 is what a table with empty cells makes of 1
        words = words.str.strip_suffix(".0")
    truth = words.replace_strict(
        {**dict.fromkeys(yes, 1.0), **dict.fromkeys(no, 0.0)}, default=None, return_dtype=pl.Float64
    )
    if kind.missing == "unticked":
        truth = truth.set(_words(cells).is_null(), 0.0)
    allowed = f"; yes is one of {listed(kind.yes)}, no one of {listed(kind.no)}"
    return Read(
        [truth], truth.is_null().to_numpy(), lambda cell: allowed if cell else NO_EMPTY_CELL
    )


def _label(cells: "pl.Series", kind: Label) -> Read:
    import polars as pl

    number = {text: float(k) for k, text in enumerate(kind.classes)}
    label = _words(cells).replace_strict(number, default=None, return_dtype=pl.Float64)
    classes = f"; the classes are {listed([repr(text) for text in kind.classes])}"
    return Read([label], label.is_null().to_numpy(), lambda cell: classes)


def _date(cells: "pl.Series", kind: Date) -> Read:
    """The chosen parts of each date as numbers."""
    import polars as pl

    moments = cells
    if cells.dtype == pl.String:
        # polars takes 26 for the year 26, and what follows a date is no part of it
        fits = cells.str.contains(_pattern(kind.format)).fill_null(False)
        moments = _with_numbers(cells.set(~fits, None), kind.format)
        moment = pl.Datetime if "%H" in kind.format else pl.Date
        form = kind.format.replace("%b", MONTH_NUMBER)
        moments = moments.str.strptime(moment, form, strict=False)
    moments = moments.cast(pl.Datetime("us"))
    if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone:
        moments = cells.dt.replace_time_zone(None).cast(pl.Datetime("us"))
    part_of: dict[str, Callable[[], pl.Series]] = {
        "year": moments.dt.year,
        "month": moments.dt.month,
        "day": moments.dt.day,
        "weekday": moments.dt.weekday,
        "hour": moments.dt.hour,
        "minute": moments.dt.minute,
    }
    days = moments.dt.epoch("s").cast(pl.Float64) / 86_400
    found = [
        (part_of[part]().cast(pl.Float64) if part in part_of else days).rename(name)
        for part, name in zip(kind.parts, parts(cells.name, kind), strict=True)
    ]
    form = f", which is no date of the form {kind.format}"
    return Read(found, moments.is_null().to_numpy(), lambda cell: form if cell else NO_EMPTY_CELL)


MONTH_NUMBER = "~%m~"  # in place of a name


def _with_numbers(cells: "pl.Series", form: str) -> "pl.Series":
    """The dates with the number of a month in place of its name; null where it is none."""
    import polars as pl

    if "%b" not in form:
        return cells
    groups = cells.str.extract_groups(_pattern(form)).struct.unnest()
    before, name, after = (groups[:, j] for j in range(3))
    known = name.str.to_lowercase().str.strip_suffix(".")
    number = known.replace_strict(MONTHS, default=None, return_dtype=pl.String)
    return before + "~" + number + "~" + after


def _pattern(form: str) -> str:
    """The pattern of a date that is written in this form; a month's name is its second group."""
    digits = {"%Y": "[0-9]{4}", "%b": r")(\p{L}+\.?)("}
    pieces = re.split(r"(%[bdmYyHMS])", form)
    return (
        "^("
        + "".join(
            digits.get(piece, "[0-9]{1,2}") if piece.startswith("%") else re.escape(piece)
            for piece in pieces
        )
        + ")$"
    )
