"""The operator's validation set and each company's rows, determined by the config alone.

Shapes: (rows, ...) has one entry for each row.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import FOLDER, is_data_path
from fl_sv.config.data import BUILT_IN_SOURCES, ColumnPartition, Data
from fl_sv.config.schema import Config
from fl_sv.config.students import PublicRows
from fl_sv.data.apart import LEAST_VALIDATION, planted_rows, tuning_rows
from fl_sv.data.corruption import corrupted, lineage
from fl_sv.data.dataset import Dataset, Kind, Task, fingerprint, labels_in
from fl_sv.data.encoding import Encoding
from fl_sv.data.owners import check_owners, left_out
from fl_sv.data.partition import RowNumbers, divide_rows
from fl_sv.data.raw import RawRows, class_labels
from fl_sv.data.scaling import Scaling
from fl_sv.data.sources import kind_of, load_pool, read_file, standardised
from fl_sv.errors import InputError

# A constant: neither the run's seed nor the companies may change the rows that score them.
HOLD_OUT_SEED = 0

# Of validation rows: below 30 the normal distribution, which the intervals take for granted, is no
# longer that of a mean.
FEW_VALIDATION = 30


@dataclass(frozen=True, eq=False)
class OperatorData:
    """The task, the validation set, and the scaling that the operator sends to every company.

    tuning: the rows on which learning rates are chosen; None where the config states all of them.
    planted: rows with drawn labels, which score nothing; None where there are none.
    """

    task: Task
    validation: Dataset
    scaling: Scaling
    tuning: Dataset | None = None
    planted: Dataset | None = None

    @property
    def holding(self) -> tuple[int, str]:
        """Number and fingerprint of all rows of the operator."""
        rows = self.validation if self.tuning is None else self.validation.with_rows(self.tuning)
        if self.planted is None:
            return len(rows), fingerprint(rows)
        # Which rows are planted counts, too.
        both = fingerprint(rows) + fingerprint(self.planted)
        return len(rows) + len(self.planted), hashlib.sha256(both.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Source:
    """A shared source as it was read.

    held_out: (rows,) marks those that the operator keeps for validation; None when it keeps none.
    """

    raw: RawRows
    held_out: NDArray[np.bool_] | None

    @property
    def for_companies(self) -> RawRows:
        """The rows that are not held out."""
        return self.raw if self.held_out is None else self.raw.take(np.flatnonzero(~self.held_out))


@dataclass(frozen=True, eq=False)
class SharedRows:
    """The rows of a shared source that belong to companies, scaled, and who owns which."""

    rows: Dataset
    owned: dict[str, RowNumbers]


def read_source(config: Config) -> Source | None:
    """The shared source of `data.source`; None where every company has rows of its own.

    A validation file is not read here: only the operator may read it. Raises InputError when the
    source is missing or malformed, has a label that is no class or an owner that is in doubt, or is
    too small to hold rows out.
    """
    data = config.data
    if data.source == "own":
        return None
    kind, raw = kind_of(data), load_pool(data)
    if isinstance(data.partition, ColumnPartition):
        check_owners(raw, data.partition, config.companies)
    if kind == "classification":
        class_labels(raw, data.n_classes)
    if data.validation.file:
        return Source(raw, None)
    return Source(raw, _hold_out(raw, kind, data.validation.fraction))


def require_hidden_validation(config: Config) -> None:
    """Raises InputError where every company of a federation would hold the validation rows.

    Each node reads a shared source as a whole, and the config says which rows of it are held out.
    scikit-learn's sets are public and serve trials alone.
    """
    data = config.data
    if data.source in ("own", *BUILT_IN_SOURCES) or data.validation.file:
        return
    raise InputError(
        f"data.source: across companies each node would read all of {data.source}, and with it the"
        " rows that score everybody. Give `source: own` with a file for each company, or"
        " `data.validation.file`, which only the operator reads."
    )


def rows_left_out(config: Config, source: Source | None) -> dict[str, int]:
    """How many rows of the source belong to each owner that is no company of the run.

    They are neither held out nor trained on. Only a partition by a column leaves rows out.
    """
    partition = config.data.partition
    if source is None or not isinstance(partition, ColumnPartition):
        return {}
    return left_out(partition, config.companies, source.for_companies.columns)


def operator_data(config: Config, source: Source | None = None) -> OperatorData:
    """The operator's task, scaled validation set and scaling.

    They depend only on `config.data`, and on whether the run chooses learning rates: then a part of
    the rows becomes the tuning set, and no validation row is in it.

    source: the shared source, if it has been read already.

    Raises InputError when the source or the validation file is missing or malformed, or when the
    validation set cannot tell one model from another.
    """
    data = config.data
    source = source or read_source(config)
    if source is not None and source.held_out is not None:
        validation = source.raw.take(np.flatnonzero(source.held_out))
    else:
        assert data.validation.file is not None, "the config's checks demand it of `source: own`"
        validation = read_file(data.validation.file, data)
    if len(validation) < LEAST_VALIDATION:
        raise InputError(
            f"{validation.origin}: the validation set has a single row. At least"
            f" {LEAST_VALIDATION} are needed, since the intervals measure how much the scores of"
            " its rows differ."
        )
    encoding = None
    if validation.table is not None:
        encoding = Encoding.fitted(validation, data.columns)
        validation = encoding.apply(validation)
    labelled = validation if source is None else source.raw
    task = task_of(data, labelled, validation.x.shape[1:], config.training.loss)
    standardise = standardised(data, validation)
    scaling = Scaling.measured(validation, task, standardise=standardise, encoding=encoding)
    scaled, tuning, planted = scaling.apply(validation), None, None
    if data.validation.planted:
        listed = read_file(data.validation.planted, data)
        rest, rows = planted_rows(scaled, validation, scaling.apply(listed), listed)
        scaled, planted, validation = scaled.take(rest), scaled.take(rows), validation.take(rest)
    if config.tries_rates:
        scaled, tuning = tuning_rows(scaled, validation)
    if task.kind == "classification" and len(present := labels_in(scaled.y)) < 2:
        raise InputError(
            f"{validation.origin}, {validation.target}: every label of the validation set is"
            f" {present[0]}. A model that always answers that would be perfect; give rows of at"
            " least two classes."
        )
    return OperatorData(task, scaled, scaling, tuning, planted)


def few_tuning_sentence(n_tuning: int) -> str:
    """What must be known about a small tuning set; empty for a large one."""
    if n_tuning >= FEW_VALIDATION:
        return ""
    return (
        f"Only {n_tuning} of the operator's rows choose the learning rates: with fewer than"
        f" {FEW_VALIDATION} the choice is a matter of chance. Give more validation rows"
        " (data.validation), or state the rates."
    )


def few_rows_sentence(n_validation: int) -> str:
    """What must be known about a small validation set; empty for a large one."""
    if n_validation >= FEW_VALIDATION:
        return ""
    return (
        f"The validation set has only {n_validation} rows: with fewer than {FEW_VALIDATION} the"
        " intervals are wide, and too narrow where single rows decide the loss. Give more of them"
        " (data.validation)."
    )


def shared_rows(
    config: Config, scaling: Scaling, path: str | None = None, source: Source | None = None
) -> SharedRows | None:
    """The rows that companies own of a shared source; None where every company has rows of its own.

    path: the node's own data path; a shared file is read from there.
    source: the shared source, if it has been read already.

    Raises InputError when the source cannot be read or divided.
    """
    config = at_path(config, path)
    source = source or read_source(config)
    if source is None:
        return None
    raw = source.for_companies
    rows = scaling.apply(raw)
    partition = config.data.partition
    assert partition is not None, "the config's checks demand it of a shared source"
    owned = divide_rows(partition, config.companies, rows.y, config.seed, raw.columns)
    return SharedRows(rows, owned)


def company_data(
    config: Config,
    company: str,
    scaling: Scaling,
    path: str | None = None,
    shared: SharedRows | None = None,
) -> Dataset:
    """The rows of one company, scaled and corrupted as the config says; at least one.

    path: the node's own data path. It is read instead of the company's file in `data.files`, or
        instead of a shared file. Other sources read no file.
    shared: the rows of the shared source, if they have been read for another company.

    Raises InputError when the company has no rows, or rows that do not fit the task.
    """
    holder, defects = lineage(company, config.data.corruptions)
    shared = shared or shared_rows(config, scaling, path)
    if shared is None:
        rows = _own_rows(config, company, scaling, path)
    else:
        rows = shared.rows.take(shared.owned[holder])
    for defect in defects:
        rows = corrupted(rows, defect, scaling.task, config.seed)
    return rows


def all_company_data(
    config: Config, scaling: Scaling, source: Source | None = None
) -> dict[str, Dataset]:
    """The rows of every company, by name. A shared source is read once, if `source` is not given.

    Raises InputError as `company_data` does.
    """
    shared = shared_rows(config, scaling, source=source)
    return {
        company: company_data(config, company, scaling, shared=shared)
        for company in config.companies
    }


def own_files_are_here(config: Config) -> bool:
    """Whether this machine can read companies' rows.

    It cannot when every company has a file of its own and none of these files is here.
    """
    return config.data.source != "own" or any(
        Path(file).exists() for file in (config.data.files or {}).values()
    )


def at_path(config: Config, path: str | None) -> Config:
    """The config for a node that has a data path of its own: a shared file is read from there."""
    if path is None or not is_data_path(config.data.source):
        return config
    if Path(path).is_dir():
        path = path.rstrip(FOLDER) + FOLDER
    return config.model_copy(update={"data": config.data.model_copy(update={"source": path})})


def task_of(
    data: Data,
    raw: RawRows,
    input_shape: tuple[int, ...] | None = None,
    loss: str | None = None,
) -> Task:
    """What is predicted from what. Raises InputError when the labels are no class labels.

    input_shape: of a row of features; as it is in `raw` without it.
    loss: the user's own, of the config.
    """
    kind = kind_of(data)
    n_outputs = class_labels(raw, data.n_classes)[1] if kind == "classification" else 1
    places = raw.y.shape[1:]
    if places and kind == "regression":
        raise InputError(
            f"{raw.origin}: y has shape {raw.y.shape}; a regression has one target a row. Only the"
            " targets of a classification have places."
        )
    return Task(
        kind=kind,
        input_shape=input_shape or raw.x.shape[1:],
        n_outputs=n_outputs,
        places=places,
        inputs=raw.inputs,
        loss=loss,
    )


def public_rows(config: Config, scaling: Scaling) -> NDArray[Any]:
    """The features in `distillation.deployed.transfer_set.file`, scaled like all others.

    Returns (rows, *input_shape). Raises InputError when they cannot be read or do not fit the task.
    """
    assert config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows)
    try:
        return scaling.apply(read_file(config.deployed.transfer_set.file, config.data)).x
    except InputError as error:
        raise InputError(f"distillation.deployed.transfer_set: {error}") from None


def _hold_out(raw: RawRows, kind: Kind, fraction: float) -> NDArray[np.bool_]:
    """Which rows (rows,) go to the validation set: ceil(fraction * rows), stratified by label."""
    if raw.held_out is not None:  # whole documents of texts
        count = int(raw.held_out.sum())
        if count < LEAST_VALIDATION or count == len(raw):
            raise InputError(
                f"data.validation.fraction: {fraction} of the documents in {raw.origin} leaves"
                f" {count} of {len(raw)} rows for validation; at least {LEAST_VALIDATION} are"
                " needed, and as many documents. Give more documents, or `data.validation.file`."
            )
        return raw.held_out
    from sklearn.model_selection import train_test_split

    count = math.ceil(fraction * len(raw))
    for_validation, for_companies = LEAST_VALIDATION, 1
    stratified = kind == "classification" and raw.y.ndim == 1
    if stratified:
        labels, sizes = np.unique(raw.y, return_counts=True)
        for_validation = for_companies = max(len(labels), LEAST_VALIDATION)
        if sizes.min() < 2:
            raise InputError(
                f"{raw.origin}: class {labels[sizes.argmin()]:g} has a single row; a hold-out"
                " stratified by label needs two rows of each class. Remove the class, or give"
                " `data.validation.file`."
            )
    if count < for_validation or len(raw) - count < for_companies:
        raise InputError(
            f"data.validation.fraction: {fraction} of {len(raw)} rows leaves {count} for"
            f" validation and {len(raw) - count} for the companies; at least {for_validation} and"
            f" {for_companies} are needed. Change the fraction or give more rows."
        )
    held, _ = train_test_split(
        np.arange(len(raw)),
        train_size=count,
        random_state=HOLD_OUT_SEED,
        stratify=raw.y if stratified else None,
    )
    mask = np.zeros(len(raw), dtype=bool)
    mask[held] = True
    return mask


# --- companies with a source of their own ---------------------------------------------------------


def _own_rows(config: Config, company: str, scaling: Scaling, path: str | None) -> Dataset:
    data, name = config.data, config.legal_name(company)
    path = path or (data.files or {}).get(company)
    if path is None:
        raise InputError(
            f"{name} has no data file. Name one in `data.files`, or as the data path in the"
            " node's own config."
        )
    try:
        return scaling.apply(read_file(path, data))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
