"""Rows from a .npz, .csv, .parquet or .arrow file. Errors name the file, the row and the column.

A .csv or .parquet file holds the target in one column, the owner in another where there is one, and
numbers in all others.
"""

import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import DATA_FILES, spreadsheet_hint
from fl_sv.config.columns import Column, Csv
from fl_sv.config.data import Inputs
from fl_sv.data.archive import read_arrays, require_growth
from fl_sv.data.cells import advice, ambiguous, numbers, stripped
from fl_sv.data.csv_file import read_csv
from fl_sv.data.faults import BadCells, Numbered, Places, message
from fl_sv.data.lists import grid, read_arrow, without_lists
from fl_sv.data.parquet_footer import n_values
from fl_sv.data.raw import NAMES, RawRows, rows_of_arrays, with_inputs
from fl_sv.data.table import NUMBER, read_table
from fl_sv.errors import InputError, suggestion
from fl_sv.files import require_regular
from fl_sv.text import one_line

if TYPE_CHECKING:
    import polars as pl

PLAIN = Csv()
CHANNELS = (1, 3)  # of an image
TEXTS = f"{NAMES} Or list the texts in `data.columns`, as a label."
ONLY_THE_OWNER = "Only the owner's column may hold text, and what `data.columns` describes."


def read_rows(
    path: str,
    target: str,
    owner: str | None = None,
    csv: Csv = PLAIN,
    columns: Mapping[str, Column] | None = None,
    inputs: Inputs = "numbers",
) -> RawRows:
    """The rows of the file at `path`.

    target, owner: names of columns of a .csv or .parquet file; an .npz has the arrays x and y.
    csv: how the texts of a .csv or .parquet file are written.
    columns: what they mean. With such a description the rows have a table, which an `Encoding`
        turns into features.
    inputs: what a model is given for a row, as `data.inputs`.

    Blank lines of a .csv are skipped. Raises InputError when the file cannot be read or has a cell
    that is no finite number.
    """
    with readable(path):
        if not path.endswith(".npz"):
            frame, places = read_frame(path, csv, whole=(target, owner))
            if columns:
                return _described_rows(frame, places, path, target, owner, csv, columns)
            return with_inputs(_checked_rows(frame, places, path, target, owner, csv), inputs)
        if columns:
            raise InputError(
                f"{path}: `data.columns` describes columns, and an .npz archive has none. Give a"
                " .csv or .parquet file."
            )
        return rows_of_arrays(npz_arrays(path), path, inputs)


@contextmanager
def readable(path: str, kinds: tuple[str, ...] = DATA_FILES) -> Iterator[None]:
    """A context that reads the data file at `path`: what the system says becomes an InputError.

    kinds: the suffixes that are allowed.
    """
    if not path.endswith(kinds):
        raise InputError(
            f"{path} is no data file: its name must end in"
            f" {', '.join(kinds)}{spreadsheet_hint(path)}."
        )
    try:
        require_regular(Path(path))
        yield
    except FileNotFoundError:
        raise InputError(
            f"The data file {path} does not exist. Relative paths start at the folder of the config"
            " file, or at the current folder for a config without a file."
        ) from None
    except IsADirectoryError:
        raise InputError(f"The data file {path} is a folder. Give the file in it.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None


def read_frame(
    path: str, csv: Csv, fewest: int = 2, whole: Collection[str | None] = ()
) -> tuple["pl.DataFrame", Places]:
    """The columns of a .csv, .parquet or .arrow file, and where its rows stand.

    fewest: columns that the header of a .csv must have, 1 or 2.
    whole: columns whose lists are not divided, as target and owner have one entry a row.

    Raises InputError or OSError when it cannot be read.
    """
    if path.endswith(".csv"):
        return read_csv(path, csv, fewest)
    frame = read_arrow(path) if path.endswith(".arrow") else _read_parquet(path)
    return without_lists(frame, path, whole), Numbered(path)


def npz_arrays(path: str) -> Mapping[str, NDArray[Any]]:
    """The arrays of an .npz archive by name. Raises InputError or OSError when it is damaged."""
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is not an .npz archive. Write it with numpy.savez(path, x=..., y=...)."
        )
    try:
        return read_arrays(path)
    except (OSError, InputError):
        raise
    except Exception as error:  # zip and numpy raise a dozen kinds for a damaged archive
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} cannot be read: {one_line(reason).rstrip('.')}. Only plain arrays of numbers"
            " and text are allowed, no pickled objects."
        ) from None


def _read_parquet(path: str) -> "pl.DataFrame":
    import polars as pl

    try:
        size = pl.scan_parquet(path, glob=False)
        schema = size.collect_schema()
        n_cells = size.select(pl.len()).collect().item() * len(schema)
        if any(dtype.is_nested() for dtype in schema.dtypes()):
            n_cells = max(n_cells, n_values(path))
        require_growth(path, n_cells * np.dtype(np.float64).itemsize)
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as error:
        raise InputError(
            f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}."
        ) from None


def _checked_rows(
    frame: "pl.DataFrame", places: Places, path: str, target: str, owner: str | None, csv: Csv
) -> RawRows:
    """The rows of a frame whose cells are numbers, or text that may be read as numbers."""
    features = _feature_names(frame, path, target, owner)
    owners = {}
    if owner is not None and owner in frame.columns:
        owners = {owner: _text(frame[owner], path)}
    cells = stripped(frame.select(*features, target), csv)
    found = _numbers(cells, path, owner if owner not in frame.columns else None, places, csv)
    x, shape = np.ascontiguousarray(found[:, :-1]), _image_shape(features, path)
    return RawRows(
        x=x if shape is None else x.reshape(len(x), *shape),
        y=np.ascontiguousarray(found[:, -1]),
        origin=path,
        place=places,
        target=f"column {target!r}",
        features=features if shape is None else (),
        columns=owners,
    )


def _image_shape(features: tuple[str, ...], path: str) -> tuple[int, ...] | None:
    """The shape of a row that is an image in lists; None for other rows."""
    shape = None if path.endswith(".csv") else grid(features)
    if shape is not None and shape[-1] in CHANNELS and shape[0] not in CHANNELS:
        raise InputError(
            f"{path}: a row of lists has the shape {shape}, with the channels last as it seems."
            " Write (channels, lines, pixels), or an .npz archive."
        )
    return shape


def _described_rows(
    frame: "pl.DataFrame",
    places: Places,
    path: str,
    target: str,
    owner: str | None,
    csv: Csv,
    columns: Mapping[str, Column],
) -> RawRows:
    """The rows of a frame whose columns the config describes."""
    features = _names(frame, path, target, owner)
    kinds = {name: columns.get(name, NUMBER) for name in (*features, target)}
    kinds |= {name: kind for name, kind in columns.items() if name not in kinds}  # not in the file
    table = read_table(frame, places, path, kinds, csv)
    if table.width < 2:
        raise InputError(f"{path}: `data.columns` ignores every feature. Describe at least one.")
    owners = {}
    if owner is not None and owner in frame.columns:
        owners = {owner: _text(frame[owner], path)}
    return RawRows(
        x=np.empty((len(table), 0)),
        y=table[target].to_numpy(),
        origin=path,
        place=places,
        target=f"column {target!r}",
        columns=owners,
        table=table.drop(target),
    )


def _feature_names(
    frame: "pl.DataFrame", path: str, target: str, owner: str | None
) -> tuple[str, ...]:
    """All columns but target and owner. Raises InputError when one of them can hold no number."""
    import polars as pl

    features = _names(frame, path, target, owner)
    schema = frame.schema  # once: it lists every column
    for name in (*features, target):
        dtype = schema[name]
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.String)):
            raise InputError(
                f"{path}, column {name!r}: the type {dtype} is no number. Convert or drop the"
                " column, or say in `data.columns` what it means."
            )
    return features


def _names(frame: "pl.DataFrame", path: str, target: str, owner: str | None) -> tuple[str, ...]:
    """All columns but target and owner. Raises InputError where there are none, or no rows."""
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
    return features


def _numbers(
    cells: "pl.DataFrame", path: str, lacking: str | None, places: Places, csv: Csv
) -> NDArray[np.float64]:
    """The cells (rows, columns), the target last, as finite numbers.

    lacking: the owner's column, if the file has none.

    Raises InputError that names the cells that are no finite number, or may be two. If the owner's
    column is missing as well, the message names that first: a cell may belong to a misspelt one.
    """
    found = numbers(cells, csv)
    is_bad = ~np.isfinite(found)
    bad = [
        BadCells(
            cells.columns[j],
            np.flatnonzero(is_bad[:, j]),
            cells[:, j].__getitem__,
            lambda cell: advice(cell, csv),
        )
        for j in np.flatnonzero(is_bad.any(axis=0)).tolist()
    ]
    last = cells.columns[-1]
    demand = "every cell must be a finite number. Correct the cells or remove the rows."
    hint = TEXTS if [column.column for column in bad] == [last] else ONLY_THE_OWNER
    bad += ambiguous(cells, found, csv)
    if not bad:
        return found
    fault = message(bad, places, f"{demand} {hint}")
    if lacking and any(column.column != last for column in bad):
        raise InputError(
            f"{path} has no column {lacking!r} to name the owner (`data.partition.column`)."
            f" {suggestion(lacking, cells.columns)} Every other column must hold finite numbers,"
            f" but {fault}"
        )
    raise InputError(fault)


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
