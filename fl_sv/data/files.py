"""Rows from a .npz, .csv or .parquet file. Errors name the file, the row and the column.

A .csv or .parquet file holds the target in one column, the owner in another where there is one, and
numbers in all others.
"""

import zipfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import DATA_FILES
from fl_sv.csv_text import csv_records, quotes_are_paired
from fl_sv.data.archive import read_arrays, require_growth
from fl_sv.data.raw import NAMES, RawRows, rows_of_arrays
from fl_sv.errors import InputError, suggestion
from fl_sv.files import require_regular
from fl_sv.text import one_line

if TYPE_CHECKING:
    import polars as pl

ROW = "__row_of_the_file__"


def read_rows(path: str, target: str, owner: str | None = None) -> RawRows:
    """The rows of the file at `path`.

    target, owner: names of columns of a .csv or .parquet file; an .npz has the arrays x and y.

    Blank lines of a .csv are skipped. Raises InputError when the file cannot be read or has a cell
    that is no finite number.
    """
    if not path.endswith(DATA_FILES):
        raise InputError(f"{path} is no data file: its name must end in {', '.join(DATA_FILES)}.")
    try:
        require_regular(Path(path))
        if path.endswith(".npz"):
            return _read_npz(path)
        if path.endswith(".csv"):
            return _read_csv(path, target, owner)
        return _read_parquet(path, target, owner)
    except FileNotFoundError:
        raise InputError(
            f"The data file {path} does not exist. Relative paths start at the folder of the config"
            " file, or at the current folder for a config without a file."
        ) from None
    except IsADirectoryError:
        raise InputError(f"The data file {path} is a folder. Give the file in it.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def _read_npz(path: str) -> RawRows:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is not an .npz archive. Write it with numpy.savez(path, x=..., y=...)."
        )
    try:
        arrays = read_arrays(path)
    except (OSError, InputError):
        raise
    except Exception as error:  # zip and numpy raise a dozen kinds for a damaged archive
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} cannot be read: {one_line(reason).rstrip('.')}. Only plain arrays of numbers"
            " and text are allowed, no pickled objects."
        ) from None
    return rows_of_arrays(arrays, path)


def _read_csv(path: str, target: str, owner: str | None) -> RawRows:
    import polars as pl

    header = _csv_header(path)
    if len(header) == 1:
        raise InputError(
            f"{path}: the header has the single column {header[0][:60]!r}. Give the target and at"
            " least one feature, separated by commas."
        )
    doubles = [name for name, count in Counter(header).items() if count > 1]
    if doubles:
        raise InputError(
            f"{path}: the header names the column {doubles[0]!r} twice. Give every column its"
            " own name."
        )
    if not quotes_are_paired(Path(path)):
        raise InputError(
            _csv_fault(path, len(header), "a quote has no second one; close it, or double it")
        )
    try:
        # Read as text, so that a message shows a wrong cell as its owner wrote it.
        frame = pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(_csv_fault(path, len(header), str(error).splitlines()[0])) from None
    if any("\r" in name for name in frame.columns):
        raise InputError(
            f"{path}: the lines end in a carriage return alone. Save it with the line ends of Unix"
            " or Windows."
        )
    frame = frame.with_row_index(ROW)
    if frame.select(pl.all_horizontal(pl.exclude(ROW).is_null()).any()).item():
        frame = frame.filter(~pl.col(ROW).is_in(_blank_rows(path)))
    rows = frame[ROW].to_numpy()
    return _checked_rows(
        frame.drop(ROW),
        path,
        target,
        owner,
        lambda i: f"{path}, line {_csv_line(path, int(rows[i]))}",
    )


def _read_parquet(path: str, target: str, owner: str | None) -> RawRows:
    import polars as pl

    try:
        size = pl.scan_parquet(path, glob=False)
        n_cells = size.select(pl.len()).collect().item() * len(size.collect_schema())
        require_growth(path, n_cells * np.dtype(np.float64).itemsize)
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(
            f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}."
        ) from None
    return _checked_rows(frame, path, target, owner, lambda i: f"{path}, row {i + 1}")


def _checked_rows(
    frame: "pl.DataFrame", path: str, target: str, owner: str | None, place: Callable[[int], str]
) -> RawRows:
    """The rows of a frame whose cells are numbers, or text that may be read as numbers."""
    features = _feature_names(frame, path, target, owner)
    owners = {}
    if owner is not None and owner in frame.columns:
        owners = {owner: _text(frame[owner], path)}
    numbers = _numbers(frame, path, (*features, target), owner, place)
    return RawRows(
        x=np.ascontiguousarray(numbers[:, :-1]),
        y=np.ascontiguousarray(numbers[:, -1]),
        origin=path,
        place=place,
        target=f"column {target!r}",
        features=features,
        columns=owners,
    )


def _feature_names(
    frame: "pl.DataFrame", path: str, target: str, owner: str | None
) -> tuple[str, ...]:
    """All columns but target and owner. Raises InputError when one of them can hold no number."""
    import polars as pl

    if target not in frame.columns:
        raise InputError(
            f"{path} has no column {target!r} to predict (`data.target`, or --target for a single"
            f" file). {suggestion(target, frame.columns)}"
        )
    features = tuple(name for name in frame.columns if name not in (target, owner))
    if not features:
        raise InputError(
            f"{path} has no feature column besides {target!r}. Give at least one column of numbers."
        )
    if frame.is_empty():
        raise InputError(f"{path} has no rows below its header. Give at least one.")
    schema = frame.schema  # once: it lists every column
    for name in (*features, target):
        dtype = schema[name]
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.String)):
            raise InputError(
                f"{path}, column {name!r}: the type {dtype} is no number. Convert or drop the"
                " column."
            )
    return features


def _numbers(
    frame: "pl.DataFrame",
    path: str,
    columns: tuple[str, ...],
    owner: str | None,
    place: Callable[[int], str],
) -> NDArray[np.float64]:
    """The cells of the columns, the target last, as (rows, columns) finite numbers.

    Raises InputError for the first cell that is no finite number. If the owner's column is missing
    as well, the message names that first: the cell may belong to a misspelt owner column.
    """
    import polars as pl

    text = pl.selectors.string()
    cells = frame.select(columns).with_columns(text.str.strip_chars())
    numbers: NDArray[np.float64] = cells.cast(pl.Float64, strict=False).to_numpy()
    bad = np.argwhere(~np.isfinite(numbers))
    if not len(bad):
        return numbers
    row, column = map(int, bad[0])
    cell = cells[row, column]
    found = "the cell is empty" if cell in (None, "") else f"found {str(cell)[:40]!r}"
    fault = f"{place(row)}, column {cells.columns[column]!r}: {found} ({len(bad)} such cells)"
    if owner and owner not in frame.columns and column < len(columns) - 1:
        raise InputError(
            f"{path} has no column {owner!r} to name the owner (`data.partition.column`)."
            f" {suggestion(owner, frame.columns)} Every other column must hold finite numbers,"
            f" but {fault}."
        )
    advice = "Only the owner's column may hold text."
    if column == len(columns) - 1:
        advice = NAMES
    raise InputError(
        f"{fault}; every cell must be a finite number. Correct the cells or remove the rows."
        f" {advice}"
    )


def _text(column: "pl.Series", path: str) -> NDArray[np.str_]:
    import polars as pl

    kinds = (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)
    if not (column.dtype.is_numeric() or column.dtype in kinds):
        raise InputError(
            f"{path}, column {column.name!r}: the type {column.dtype} names no owner. Give a column"
            " of text or numbers (`data.partition.column`)."
        )

    if column.dtype.is_float():
        column = column.fill_nan(None)
    cells = column.cast(pl.String).fill_null("").to_list()
    if with_nul := next((cell for cell in cells if "\0" in cell), None):  # numpy would drop it
        raise InputError(
            f"{path}, column {column.name!r}: {with_nul[:40]!r} holds a NUL character, which no"
            " name has. Correct the cells."
        )
    return np.array(cells, dtype=np.str_)


def _csv_header(path: str) -> list[str]:
    header = next((record for _, record in csv_records(Path(path)) if record), None)
    if header is None:
        raise InputError(
            f"{path} is empty. Give a header line with the columns' names and at least one row."
        )
    return header


def _csv_fault(path: str, width: int, report: str) -> str:
    """The message for a file that polars refused, or whose quotes are not paired.

    The standard library's slower reader finds the line; without one the message is `report`.
    Raises OSError where that reader finds what is wrong.
    """
    for line, record in csv_records(Path(path)):
        if len(record) > width:
            return (
                f"{path}, line {line}: {len(record)} cells where the header has"
                f" {width} columns. Give every row one cell a column, separated by commas."
            )
    return f"{path} cannot be read as CSV: {report}."


def _blank_rows(path: str) -> list[int]:
    """The rows (from 0) that are blank lines. A line of commas alone is a row of empty cells."""
    records = csv_records(Path(path))
    next(record for _, record in records if record)
    return [row for row, (_, record) in enumerate(records) if not record]


def _csv_line(path: str, row: int) -> int:
    """The line on which row `row` (from 0, blank lines counted) begins.

    It reads the file again, and only error messages need it.
    """
    records = csv_records(Path(path))
    next(record for _, record in records if record)
    return next(islice(records, row, None))[0]
