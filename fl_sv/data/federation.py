"""Who holds what: the operator's validation set and each company's rows, from the configuration
alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import DATA_FILES
from fl_sv.config.data import Data
from fl_sv.config.schema import Config
from fl_sv.config.students import PublicRows
from fl_sv.data.corruption import corrupted, lineage
from fl_sv.data.dataset import Dataset, Kind, Task
from fl_sv.data.files import read_table
from fl_sv.data.partition import Rows, divide
from fl_sv.data.raw import Table, class_labels
from fl_sv.data.scaling import Scaling
from fl_sv.data.sources import kind_of, load_pool, owner_column, standardised
from fl_sv.errors import InputError

HOLD_OUT_SEED = (
    0  # a constant: neither the run's seed nor its companies may change what scores them
)


@dataclass(frozen=True, eq=False)
class OperatorData:
    """What the operator holds: the task, the validation set, and the scaling that it sends to every
    company.
    """

    task: Task
    validation: Dataset
    scaling: Scaling


@dataclass(frozen=True, eq=False)
class _Pool:
    """A shared source once it is read. `held_out` marks the rows (n,) that the operator keeps, if
    it keeps any.
    """

    table: Table
    held_out: NDArray[np.bool_] | None


def operator_data(config: Config) -> OperatorData:
    """The operator's task, scaled validation set and scaling. They depend on `config.data` alone.

    Raises InputError when the source or the validation file is missing or malformed, or too small
    to hold rows out."""
    return _operator(config.data.model_dump_json())


def company_data(
    config: Config, company: str, scaling: Scaling, path: str | None = None
) -> Dataset:
    """The rows of one company, scaled and corrupted as the config says; at least one.

    `path`, the node's own data path, goes before the file that the config names: before
    `data.files` with `source: own`, before a shared file; other sources read none. Raises
    InputError when the company has no rows, or rows that do not fit the task."""
    holder, defects = lineage(company, config.data.corruptions)
    if config.data.source == "own":
        rows = _own_rows(config.data, company, scaling, path)
    else:
        config = at_path(config, path)
        shared, _ = _shared_rows(config.data.model_dump_json(), scaling)
        rows = shared.take(_shares(config.model_dump_json(), scaling)[holder])
    for defect in defects:
        rows = corrupted(rows, defect, scaling.task, config.seed)
    return rows


def own_files_are_here(config: Config) -> bool:
    """Whether this machine is to read the companies' rows: not when each has a file of its own and
    none is here.
    """
    return config.data.source != "own" or any(
        Path(file).is_file() for file in (config.data.files or {}).values()
    )


def at_path(config: Config, path: str | None) -> Config:
    """The config as a node with a data path of its own reads it: a shared file lies there."""
    if path is None or not config.data.source.endswith(DATA_FILES):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"source": path})})


def task_of(data: Data, table: Table) -> Task:
    """What is predicted, and from what. Raises InputError when the labels are none."""
    kind = kind_of(data)
    n_outputs = class_labels(table, data.classes)[1] if kind == "classification" else 1
    return Task(kind=kind, input_shape=table.x.shape[1:], n_outputs=n_outputs)


def public_rows(config: Config, scaling: Scaling) -> NDArray[np.float32]:
    """(n, *input_shape) the rows of `distillation.deployed.transfer_set.file`, scaled as
    everybody's.

    Raises InputError when they cannot be read or do not fit the task.
    """
    assert config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows)
    try:
        return scaling.apply(read_table(config.deployed.transfer_set.file, config.data.target)).x
    except InputError as error:
        raise InputError(f"distillation.deployed.transfer_set: {error}") from None


# --- the operator ---------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _operator(data_json: str) -> OperatorData:
    data = Data.model_validate_json(data_json)
    pool = None if data.source == "own" else _pool(data_json)
    if pool is not None and pool.held_out is not None:
        validation = pool.table.take(np.flatnonzero(pool.held_out))
    else:
        assert data.validation.file is not None, (
            "the schema demands a validation file with `source: own`"
        )
        validation = read_table(data.validation.file, data.target, owner_column(data))
    task = task_of(data, validation if pool is None else pool.table)
    scaling = Scaling.measured(validation, task, standardise=standardised(data, validation))
    return OperatorData(task, scaling.apply(validation), scaling)


# --- a shared source ------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _pool(data_json: str) -> _Pool:
    """Read once in a process, however many companies live in it; a validation file is the
    operator's alone to read.
    """
    data = Data.model_validate_json(data_json)
    kind, table = kind_of(data), load_pool(data)
    return _Pool(
        table, None if data.validation.file else _hold_out(table, kind, data.validation.fraction)
    )


@lru_cache(maxsize=2)
def _shared_rows(
    data_json: str, scaling: Scaling
) -> tuple[Dataset, Mapping[str, NDArray[np.generic]]]:
    """The rows that companies own, scaled, and the columns that may name their owners."""
    pool = _pool(data_json)
    owned = pool.table if pool.held_out is None else pool.table.take(np.flatnonzero(~pool.held_out))
    return scaling.apply(owned), owned.columns


@lru_cache(maxsize=2)
def _shares(config_json: str, scaling: Scaling) -> dict[str, Rows]:
    config = Config.model_validate_json(config_json)
    rows, columns = _shared_rows(config.data.model_dump_json(), scaling)
    partition = config.data.partition
    assert partition is not None, "the schema demands a partition of a shared source"
    if partition.kind == "dirichlet" and scaling.task.kind == "regression":
        raise InputError(
            "data.partition: dirichlet skews class labels, and regression has none. Take iid or"
            " sizes."
        )
    return divide(partition, config.companies, rows.y, config.seed, columns)


def _hold_out(table: Table, kind: Kind, fraction: float) -> NDArray[np.bool_]:
    """Which rows (n,) go to the validation set: ceil(fraction * n), stratified by label."""
    from sklearn.model_selection import train_test_split

    count = math.ceil(fraction * len(table))
    needed, labels = 1, None
    if kind == "classification":
        labels, sizes = np.unique(table.y, return_counts=True)
        needed = len(labels)
        if sizes.min() < 2:
            raise InputError(
                f"{table.origin}: class {labels[sizes.argmin()]:g} has a single row; a hold-out"
                " stratified by label needs two of each. Remove the class, or give"
                " `data.validation.file`."
            )
    if count < needed or len(table) - count < needed:
        raise InputError(
            f"data.validation.fraction: {fraction} of {len(table)} rows leaves {count} for"
            f" validation and {len(table) - count} for the companies; each needs at least {needed}."
            " Change the fraction or give more rows."
        )
    held, _ = train_test_split(
        np.arange(len(table)),
        train_size=count,
        random_state=HOLD_OUT_SEED,
        stratify=table.y if kind == "classification" else None,
    )
    mask = np.zeros(len(table), dtype=bool)
    mask[held] = True
    return mask


# --- every company its own source -----------------------------------------------------------------


def _own_rows(data: Data, company: str, scaling: Scaling, path: str | None) -> Dataset:
    path = path or (data.files or {}).get(company)
    if path is None:
        raise InputError(
            f"{company} has no data file. Name one in `data.files`, or in the node's own config as"
            " its data path."
        )
    try:
        return scaling.apply(read_table(path, data.target))
    except InputError as error:
        raise InputError(f"{company}: {error}") from None
