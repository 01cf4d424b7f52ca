"""The rows in a folder: several data files of one kind, arrays that stay on disk, or images."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_sv.config.base import DATA_FILES
from fl_sv.config.data import Data
from fl_sv.data.images import LIST, read_images
from fl_sv.data.mapped import mapped_arrays
from fl_sv.data.raw import RawRows, rows_of_arrays
from fl_sv.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl

# What Hugging Face's `datasets` writes beside the .arrow files of a set, and beside its splits.
SAVED, SPLITS = ("dataset_info.json", "state.json"), "dataset_dict.json"
MOST_FAULTS = 5  # of files, in one message
ARRAY = "x.npy"  # marks a folder of arrays


def read_folder(path: str, data: Data, read: Callable[[str], RawRows]) -> RawRows:
    """The rows of a folder: of its images, its arrays, or its data files in order of their names.

    Hidden files do not count. read: reads a data file.

    Raises InputError that names what is no data, and every file whose rows do not fit.
    """
    folder, entries = Path(path), data_entries(path)
    if folder / ARRAY in entries:
        _require_plain(path, data)
        return rows_of_arrays(mapped_arrays(folder, entries), path, data.inputs)
    if folder / LIST in entries or any(each.is_dir() for each in entries):
        return read_images(folder, entries, data)
    others = [each.name for each in entries if not each.name.endswith(DATA_FILES)]
    if others or not entries:
        raise InputError(
            f"The folder {path} holds {listed(others, 5) or 'nothing'}. It has to hold data files"
            f" ({', '.join(DATA_FILES)}) and nothing else, {ARRAY} and y.npy, a folder of images"
            f" for each class, or {LIST} beside the images that it lists."
        )
    parts, faults = [], []
    for entry in entries:
        try:
            parts.append(read(str(entry)))
        except InputError as error:
            faults.append(str(error))
    if faults:
        more = [f"... and {len(faults) - MOST_FAULTS} more files."]
        raise InputError("\n".join(faults[:MOST_FAULTS] + more * (len(faults) > MOST_FAULTS)))
    return joined(parts, path)


def data_entries(path: str) -> list[Path]:
    """What a folder holds, by name, without hidden files. Raises InputError."""
    folder = Path(path)
    try:
        entries = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise InputError(f"The folder {path} cannot be read: {error.strerror}.") from None
    if folder / SPLITS in entries:
        splits = listed([each.name for each in entries if each.is_dir()], 5)
        raise InputError(f"The folder {path} holds several splits: {splits}. Give that of one.")
    if any(each.name.endswith(".arrow") for each in entries):
        entries = [each for each in entries if each.name not in SAVED]
    return entries


def _require_plain(path: str, data: Data) -> None:
    if data.columns:
        raise InputError(
            f"{path}: `data.columns` describes columns by name, and {ARRAY} has none. Give .csv,"
            " .parquet or .arrow files."
        )


def joined(parts: list[RawRows], origin: str) -> RawRows:
    """The rows of several files, one after the other, with the columns in the first one's order.

    Raises InputError that names every file whose columns or shapes are not the first one's.
    """
    first = parts[0]
    faults = [
        f"{part.origin}: its {what} {there}, and in {first.origin} {here}."
        for part in parts[1:]
        for what, there, here in _differences(first, part)
    ]
    if faults:
        raise InputError(
            f"{origin}: all files have to hold the same columns.\n"
            + "\n".join(faults[:MOST_FAULTS])
        )
    starts = np.cumsum([0, *map(len, parts)])

    def place(row: int) -> str:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return parts[part].place(row - int(starts[part]))

    return RawRows(
        x=np.concatenate([part.x[:, _order(first, part)] for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        origin=origin,
        place=place,
        target=first.target,
        features=first.features,
        columns={
            name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns
        },
        table=_stacked(parts),
        inputs=first.inputs,
    )


def _differences(first: RawRows, part: RawRows) -> list[tuple[str, str, str]]:
    """What two files differ in, and how it is in each of them."""
    columns, others = (
        [*each.features, *(each.table.columns if each.table is not None else ())]
        for each in (first, part)
    )
    found = []
    if sorted(columns) != sorted(others):
        there, here = {*others} - {*columns}, {*columns} - {*others}
        found.append(
            (
                "features are others: only there",
                listed(sorted(there), 5) or "nothing",
                f"only {listed(sorted(here), 5) or 'nothing'}",
            )
        )
    elif first.x.shape[1:] != part.x.shape[1:]:
        found.append(("rows have the shape", f"{part.x.shape[1:]}", f"{first.x.shape[1:]}"))
    if first.y.shape[1:] != part.y.shape[1:]:
        found.append(("targets have the shape", f"{part.y.shape[1:]}", f"{first.y.shape[1:]}"))
    if first.columns.keys() != part.columns.keys():
        found.append(
            (
                "other columns are",
                listed(sorted(part.columns), 5) or "none",
                listed(sorted(first.columns), 5) or "none",
            )
        )
    if [each.name for each in first.inputs] != [each.name for each in part.inputs]:
        found.append(("arrays are", "others", "these"))
    return found


def _order(first: RawRows, part: RawRows) -> slice | list[int]:
    """The places of the first file's features among those of another."""
    if part.features == first.features:
        return slice(None)
    return [part.features.index(name) for name in first.features]


def _stacked(parts: list[RawRows]) -> "pl.DataFrame | None":
    import polars as pl

    tables = [part.table for part in parts if part.table is not None]
    if not tables:
        return None
    return pl.concat([table.select(tables[0].columns) for table in tables], how="vertical_relaxed")
