"""Where a shared pool of rows comes from: scikit-learn's sets, a file, or a user's function."""

import os
from collections.abc import Mapping
from typing import Any

from fl_sv.config.base import FOLDER, is_data_path
from fl_sv.config.data import BUILT_IN_SOURCES, ColumnPartition, Data, Inputs
from fl_sv.data.dataset import Kind
from fl_sv.data.files import read_rows
from fl_sv.data.folders import read_folder
from fl_sv.data.raw import RawRows, rows_of_arrays
from fl_sv.data.text import read_texts
from fl_sv.errors import InputError
from fl_sv.plugins import ANY_ERROR, resolve


def load_pool(data: Data) -> RawRows:
    """All rows of a shared source, before any are held out or divided among companies.

    Raises InputError when they cannot be read or do not pass the checks.
    """
    if data.source in BUILT_IN_SOURCES:
        return _built_in(data.source)
    if data.text is not None:
        fraction = None if data.validation.file else data.validation.fraction
        return read_texts(data.source, data.text, owner_column(data), fraction)
    if is_data_path(data.source):
        return read_file(data.source, data)
    return _users(data.source, data.options, data.inputs)


def read_file(path: str, data: Data) -> RawRows:
    """The rows of one of the run's files or folders, as the config describes them.

    Raises InputError.
    """
    owner = owner_column(data)
    if data.text is not None:
        return read_texts(path, data.text, owner)

    def read(file: str) -> RawRows:
        return read_rows(file, data.target, owner, data.csv, data.columns, data.inputs)

    if not (path.endswith(FOLDER) or os.path.isdir(path)):  # noqa: PTH112 - any text may be given
        return read(path)
    return read_folder(path, data, read)


def kind_of(data: Data) -> Kind:
    """Classification or regression: as the built-in source is, or as the config states.

    Without either it is a classification.
    """
    if data.task == "next_token":
        return "classification"
    return BUILT_IN_SOURCES.get(data.source) or data.task or "classification"


def standardised(data: Data, raw: RawRows) -> bool:
    """Whether features are scaled: as the config states, by default only in tables.

    Images and the rows of a user's function stay as they are.
    """
    if data.inputs != "numbers":
        return False
    if data.standardise is not None:
        return data.standardise
    return data.source != "digits" and ":" not in data.source and raw.x.ndim == 2


def owner_column(data: Data) -> str | None:
    """The column that names the owner and therefore is no feature; None without one."""
    return data.partition.column if isinstance(data.partition, ColumnPartition) else None


def _built_in(name: str) -> RawRows:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    # Pixels run from 0 to 16; one channel makes the rows images, for the convolutions.
    x = (bunch.images / 16.0)[:, None] if name == "digits" else bunch.data
    return rows_of_arrays({"x": x, "y": bunch.target}, name)


def _users(reference: str, options: Mapping[str, Any], inputs: Inputs) -> RawRows:
    function = resolve(reference, "data.source")
    try:
        arrays = function(**options)
    except ANY_ERROR as error:
        raise InputError(
            f"data.source: {reference} raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(arrays, Mapping):
        raise InputError(
            f"data.source: {reference} returned a {type(arrays).__name__}; it must return a mapping"
            " with x and y."
        )
    return rows_of_arrays(arrays, reference, inputs)
