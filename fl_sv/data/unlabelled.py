"""Rows whose target is not known yet, from the same files as a run's rows.

Columns go by the names that the trained model knows. What a target's or an owner's column holds is
ignored; such a column need not be there.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import DATA_FILES
from fl_sv.config.columns import Column, Csv, Ignore
from fl_sv.config.data import Inputs
from fl_sv.data.faults import Places
from fl_sv.data.files import npz_arrays, read_frame, readable
from fl_sv.data.folders import ARRAY, data_entries, joined
from fl_sv.data.images import unlabelled_images
from fl_sv.data.mapped import mapped_arrays
from fl_sv.data.raw import RawRows, rows_of_arrays, with_inputs
from fl_sv.data.scaling import Scaling
from fl_sv.data.table import NUMBER, parts, read_table
from fl_sv.errors import InputError, listed

if TYPE_CHECKING:
    import polars as pl

UNIT = "give the column in the unit that it had in the run"


def read_unlabelled(
    path: str,
    scaling: Scaling,
    ignored: tuple[str, ...],
    csv: Csv,
    columns: Mapping[str, Column],
) -> RawRows:
    """The rows of a file or folder for the model of this scaling, not scaled yet, with target NaN.

    ignored: columns that are no features. csv, columns: as the run read its own files.

    Without names in model or file, a row must have as many numbers as the model takes. Raises
    InputError that names all columns that are missing or are no features, the cells that cannot be
    used, or the first number that no scaling brings into range.
    """
    if Path(path).is_dir():
        return _of_folder(path, scaling, ignored, csv, columns)
    with readable(path):
        if path.endswith(".npz"):
            raw = _of_arrays(npz_arrays(path), path, scaling)
        else:
            frame, places = read_frame(path, csv, fewest=1)
            if frame.is_empty():
                raise InputError(f"{path} has no rows below its header. Give at least one.")
            raw = _of_table(frame, places, path, scaling, ignored, csv, columns)
    return _as_model_takes(raw, path, scaling, ignored)


def _of_folder(
    path: str,
    scaling: Scaling,
    ignored: tuple[str, ...],
    csv: Csv,
    columns: Mapping[str, Column],
) -> RawRows:
    """The rows of a folder: of all its data files by name, of x.npy, or of all images in it."""
    entries = data_entries(path)
    if Path(path) / ARRAY in entries:
        raw = _of_arrays(mapped_arrays(Path(path), entries), path, scaling)
        return _as_model_takes(raw, path, scaling, ignored)
    files = [str(each) for each in entries if each.name.endswith(DATA_FILES)]
    if not files or any(each.is_dir() for each in entries):
        x, images = unlabelled_images(Path(path), scaling.task.input_shape[0])
        raw = _unlabelled(x, path, lambda row: str(images[row]))
        return _as_model_takes(raw, path, scaling, ignored)
    if others := [each.name for each in entries if str(each) not in files]:
        raise InputError(f"The folder {path} holds {listed(others, 5)} beside data files.")
    parts = [read_unlabelled(file, scaling, ignored, csv, columns) for file in files]
    return joined(parts, path)


def _as_model_takes(raw: RawRows, path: str, scaling: Scaling, ignored: tuple[str, ...]) -> RawRows:
    """The rows in the shape of the model's. Raises InputError where they have no such shape."""
    wanted = scaling.task.input_shape
    if raw.x.shape[1:] not in (wanted, (prod(wanted),)):
        besides = f" Columns that are no features: {listed(ignored)}." if ignored else ""
        raise InputError(
            f"{path}: a row has {_shown(raw.x.shape[1:])} numbers; the model takes"
            f" {_shown(wanted)}.{besides}"
        )
    shaped = RawRows(
        x=raw.x.reshape(len(raw), *wanted),
        y=raw.y,
        origin=path,
        place=raw.place,
        target=raw.target,
        features=scaling.features,
        inputs=raw.inputs,
        unknown=raw.unknown,
    )
    scaling.features_of(shaped, UNIT)
    return shaped


def _of_arrays(arrays: Mapping[str, NDArray[Any]], path: str, scaling: Scaling) -> RawRows:
    if scaling.encoding is not None:
        raise InputError(
            f"{path}: the model goes by the names of columns, and arrays have none. Give a .csv or"
            " .parquet file."
        )
    names = tuple(each.name for each in scaling.task.inputs if each.name)
    first = arrays.get(names[0] if names else "x")
    if first is None:
        raise InputError(
            f"{path} has no array {(names or ('x',))[0]!r}; it has"
            f" {listed(sorted(arrays)) or 'none'}."
        )
    unknown = np.zeros(len(first) if first.ndim else 0)
    kept = {name: arrays[name] for name in names or ("x",) if name in arrays}
    rows = rows_of_arrays({**kept, "y": unknown}, path, _inputs(scaling))
    return replace(_unlabelled(rows.x, path, rows.place), inputs=rows.inputs)


def _of_table(
    frame: "pl.DataFrame",
    places: Places,
    path: str,
    scaling: Scaling,
    ignored: tuple[str, ...],
    csv: Csv,
    columns: Mapping[str, Column],
) -> RawRows:
    ignored += tuple(name for name, kind in columns.items() if isinstance(kind, Ignore))
    if scaling.encoding is None:
        names = scaling.features or tuple(name for name in frame.columns if name not in ignored)
        _require_columns(frame, path, names, ignored)
        numeric = read_table(frame, places, path, dict.fromkeys(names, NUMBER), csv)
        rows = _unlabelled(np.ascontiguousarray(numeric.to_numpy()), path, places)
        return with_inputs(rows, _inputs(scaling))
    described = {name: kind for name, kind in columns.items() if name not in ignored}
    made = {part for name, kind in described.items() for part in parts(name, kind)}
    numbers = [step.column for step in scaling.encoding.steps if step.column not in made]
    kinds = described | dict.fromkeys(numbers, NUMBER)
    _require_columns(frame, path, tuple(kinds), ignored)
    table = read_table(frame, places, path, kinds, csv)
    rows = _unlabelled(np.empty((len(table), 0)), path, places, table)
    return scaling.encoding.apply(rows)


def _require_columns(
    frame: "pl.DataFrame", path: str, names: tuple[str, ...], ignored: tuple[str, ...]
) -> None:
    lacking = [name for name in names if name not in frame.columns]
    foreign = [name for name in frame.columns if name not in (*names, *ignored)]
    if lacking or foreign:
        besides = f" {listed(ignored)} may be there as well, and is ignored." if ignored else ""
        raise InputError(
            f"{path}: the columns are not those of the model; missing: {listed(lacking) or 'none'};"
            f" unknown: {listed(foreign) or 'none'}.{besides}"
        )
    if not names:
        raise InputError(f"{path} has no column with a feature. Give those of the run's files.")


def _unlabelled(
    x: NDArray[Any], path: str, place: Callable[[int], str], table: "pl.DataFrame | None" = None
) -> RawRows:
    """Rows with NaN in place of a target: nobody can take it for one."""
    return RawRows(
        x=x,
        y=np.full(len(x), np.nan),
        origin=path,
        place=place,
        target="the target, which is to be predicted",
        table=table,
    )


def _inputs(scaling: Scaling) -> Inputs:
    """What `data.inputs` was in the run."""
    inputs = scaling.task.inputs
    return tuple(each.name for each in inputs if each.name) or ("ids" if inputs else "numbers")


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
