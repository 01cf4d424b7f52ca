"""For a company before it joins: does its file fit the run, and what will leave its machine?"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_sv.config.columns import Column, Label
from fl_sv.config.data import ColumnPartition, Data
from fl_sv.config.load import load_config
from fl_sv.config.redact import BASES, with_bases
from fl_sv.config.schema import Config
from fl_sv.data.dataset import IGNORED, Dataset, Task, fingerprint
from fl_sv.data.encoding import Encoding, unknown_sentence
from fl_sv.data.federation import (
    at_path,
    company_data,
    operator_data,
    read_source,
    rows_left_out,
    shared_rows,
    task_of,
)
from fl_sv.data.files import read_rows
from fl_sv.data.folders import data_entries
from fl_sv.data.owners import left_out_sentence, owned_rows
from fl_sv.data.raw import RawRows
from fl_sv.data.sources import read_file
from fl_sv.design.waves import MEGABYTE
from fl_sv.errors import InputError, listed, shortened, suggestion
from fl_sv.flower.contract import what_runs

if TYPE_CHECKING:
    from fl_sv.design.workloads import PlannedRun
    from fl_sv.training.models import ModelSpec

MAX_CLASSES_SHOWN, MAX_OWNERS_SHOWN = 20, 5
LONGEST_NAME = 40  # of a column, in letters


def inspect_source(path: str, target: str) -> list[str]:
    """What a data file holds, without a config.

    path: of a file, or a folder. target: the column to predict.

    Raises InputError when it is malformed.
    """
    if Path(path).is_dir():
        raw, names = _of_folder(path, target)
    else:
        raw, names = read_rows(path, target), ()
    return [
        *_shape(raw),
        _targets(raw, names),
        "Give the config instead of the file to check it against the run.",
    ]


def _of_folder(path: str, target: str) -> tuple[RawRows, tuple[str, ...]]:
    """The rows of a folder, and the texts of its classes where they name folders of images."""
    entries = data_entries(path)
    folders = tuple(each.name for each in entries if each.is_dir())
    columns = {}
    if len(folders) > 1 and not all(name.isdecimal() for name in folders):
        columns = {target: {"kind": "label", "classes": folders}}
    folder = f"{path.rstrip('/')}/"
    data = Data.model_validate({"source": folder, "target": target, "columns": columns})
    return read_file(folder, data), folders if columns else ()


def inspect_company(config_path: Path, company: str, path: str | None = None) -> list[str]:
    """The company's file against the config, and what leaves its machine in a run.

    path: the node's own data path, read instead of the file that the config names.

    Where the operator's validation set can be read, the rows are prepared as for training.
    Otherwise everything is checked that needs no other rows.

    Returns lines for the screen. Raises InputError when the file does not fit, or when the config
    has no such company or names no file for it.
    """
    config = load_config(config_path)
    company = _handle(config, config_path, company)
    # A company's own bases lie beside the config in its kit.
    config = with_bases(at_path(config, path), Path(config_path).parent / BASES)
    data = config.data
    source = read_source(config)
    raw = _own_rows(config, company, path) if source is None else source.raw
    left_out = _left_out(config, rows_left_out(config, source))
    name = config.legal_name(company)
    lines = [f"{name}:", *_shape(raw), *left_out]
    if data.validation.file is None or Path(data.validation.file).exists():
        scaling = operator_data(config, source).scaling
        shared = shared_rows(config, scaling, source=source)
        task, rows = scaling.task, company_data(config, company, scaling, path, shared)
        if shared is not None and source is not None:
            raw = source.for_companies.take(shared.owned[company])
        lines += [
            _counts(task, rows, _class_names(config)),
            *_encoded(scaling.encoding, raw, name, rows),
            "Prepared as for training: the features are those of the validation set.",
        ]
        return lines + _departures(config, task, name, rows)
    task = task_of(data, _with_features(raw, data.columns), loss=config.training.loss)
    if isinstance(data.partition, ColumnPartition):
        raw = raw.take(owned_rows(data.partition, config.companies, raw.columns)[company])
        lines.append(f"examples  {len(raw):,} of {name}")
    lines += [
        _targets(raw, _class_names(config)),
        "Not checked: that the features are the operator's. The validation file is not here.",
    ]
    return lines + _departures(config, task, name, None)


def _handle(config: Config, config_path: Path, company: str) -> str:
    """The handle of a company that is called by its name or handle. Raises InputError."""
    called = unicodedata.normalize("NFC", company)
    for handle, name in zip(config.companies, config.legal_names, strict=True):
        if called in (handle, name):
            return handle
    known = suggestion(company, config.legal_names)
    raise InputError(f"{config_path} has no company {company!r}. {known}")


def _own_rows(config: Config, company: str, path: str | None) -> RawRows:
    """The rows in the company's own file, unscaled."""
    path = path or (config.data.files or {}).get(company)
    if path is None:
        name = config.legal_name(company)
        raise InputError(f"The config names no file for {name}. Give yours with --data-path.")
    return read_file(path, config.data)


def _with_features(raw: RawRows, columns: Mapping[str, Column]) -> RawRows:
    """The rows with the features that their own words would give, where these are in a table."""
    return raw if raw.table is None else Encoding.fitted(raw, columns).apply(raw)


def _encoded(encoding: Encoding | None, raw: RawRows, company: str, rows: Dataset) -> list[str]:
    """What becomes of the columns of a table, its empty cells, and words that are not known."""
    if encoding is None:
        return []
    lines = [f"features  {len(encoding.features)}: {_columns(encoding.features)}"]
    if filled := encoding.filled(raw):
        empty = [
            f"{shortened(column, LONGEST_NAME)!r}: {count:,}" for column, count in filled.items()
        ]
        lines.append(f"empty     cells that `missing` fills: {listed(empty)}")
    if sentence := unknown_sentence(company, rows.unknown):
        lines.append(f"unknown   {sentence} They count as no word:")
        for column, counts in encoding.unknown_words(raw).items():
            words = [f"{word[:40]!r} ({count:,})" for word, count in counts.items()]
            name = shortened(column, LONGEST_NAME)
            lines.append(f"          column {name!r}: {listed(words)}")
    return lines


def _left_out(config: Config, rows_of: dict[str, int]) -> list[str]:
    """How many rows belong to no company, and whose they are."""
    partition = config.data.partition
    if not (rows_of and isinstance(partition, ColumnPartition)):
        return []
    most = [f"{owner!r}: {n:,}" if owner else f"no owner: {n:,}" for owner, n in rows_of.items()]
    return [
        left_out_sentence(partition, sum(rows_of.values())),
        f"left out  {listed(most, MAX_OWNERS_SHOWN)}",
    ]


def _shape(raw: RawRows) -> list[str]:
    names = f": {_columns(raw.features)}" if raw.features else ""
    shape = f"of shape {raw.x.shape[1:]}{names}"
    if raw.table is not None:
        shape = f"of {raw.table.width} columns: {_columns(raw.table.columns)}"
    return [f"source    {raw.origin}", f"rows      {len(raw):,} {shape}"]


def _columns(names: Sequence[str]) -> str:
    """The first of the columns, none longer than LONGEST_NAME."""
    return listed([shortened(name, LONGEST_NAME) for name in names])


def _class_names(config: Config) -> tuple[str, ...]:
    """The texts of the classes; none where the labels are numbers."""
    label = config.data.columns.get(config.data.target)
    return label.classes if isinstance(label, Label) else ()


def _named(label: float, names: tuple[str, ...]) -> str:
    return names[int(label)][:40] if names else f"{label:g}"


def _targets(raw: RawRows, names: tuple[str, ...] = ()) -> str:
    values, counts = np.unique(raw.y, return_counts=True)
    if len(values) > MAX_CLASSES_SHOWN or (values != np.floor(values)).any():
        return (
            f"targets   {len(values):,} different ones from {values[0]:g} to {values[-1]:g}"
            f" ({raw.target})"
        )
    each = ", ".join(
        f"{_named(value, names)}: {count}" for value, count in zip(values, counts, strict=True)
    )
    return f"targets   rows of each in {raw.target}: {each}"


def _counts(task: Task, rows: Dataset, names: tuple[str, ...] = ()) -> str:
    if task.kind == "regression":
        return f"examples  {len(rows):,}"
    held = np.bincount(rows.y[rows.y != IGNORED], minlength=task.n_outputs)
    each = (
        f": {', '.join(f'{_named(k, names)}: {count}' for k, count in enumerate(held))}"
        if len(held) <= MAX_CLASSES_SHOWN
        else ""
    )
    if task.places:
        counted = held.sum()
        return f"examples  {len(rows):,}, {counted:,} places that count of {rows.y.size:,}"
    return f"examples  {len(rows):,} in {np.count_nonzero(held)} of {len(held)} classes{each}"


@dataclass(frozen=True)
class Departure:
    """One thing that leaves the company's machine, and in which messages."""

    messages: str
    content: str

    def __str__(self) -> str:
        return f"  {self.messages:<14}{self.content}"


def _departures(config: Config, task: Task, company: str, rows: Dataset | None) -> list[str]:
    """What leaves the company and what stays. `rows` is None where they could not be prepared."""
    from fl_sv.design.workloads import planned_run
    from fl_sv.training.models import model_specs, tensors  # here, because these load torch
    from fl_sv.training.trial import tried_models

    small, large = model_specs(config, task)
    if rows is not None:
        small, large = tried_models(config, task, *tensors(rows, config))
    run = planned_run(config, small, large)
    departures = [
        *_registration(rows),
        *_large_models(run, large, company),
        _small_models(config, run, small, company),
        Departure(
            "every reply",
            "the number of examples and the seconds of training; of an error, its kind alone",
        ),
    ]
    return [
        "Leaves this machine:",
        *map(str, departures),
        "Evaluation numbers: none besides that mean loss. The operator's validation set scores the"
        " coalitions.",
        "Stays here: rows, targets, names of columns, paths. What the parameters may reveal:"
        " docs/threat-model.md.",
        what_runs(config),
    ]


def _registration(rows: Dataset | None) -> list[Departure]:
    count = "" if rows is None else f", {len(rows)}"
    print_of = "" if rows is None else f", {fingerprint(rows)}"
    return [
        Departure(
            "registration",
            f"the number of examples{count}; hashes of the installed fl_sv"
            " and of what is frozen in the models",
        ),
        Departure("registration", f"a fingerprint (sha256) of the rows{print_of}"),
    ]


def _large_models(run: "PlannedRun", large: "ModelSpec", company: str) -> list[Departure]:
    """The large models of the grand coalition, then those of the other large runs."""
    rounds = f"{sum(workload.rounds for workload in run.teacher)} rounds"
    departures = [
        Departure(rounds, f"{large.name} ({large.n_params:,} parameters), trained on these rows"),
        Departure(rounds, "the mean loss on these rows of the model that was received"),
    ]
    waves = [workload for workload in run.large_runs if not workload.by_itself]
    if len(waves) < len(run.large_runs):
        trained = f"{large.name}, trained on only these rows, once a seed"
        departures.append(Departure("1 message", trained))
    if waves:
        coalitions = sum(len(wave.coalitions) for wave in waves)
        trained = (
            f"{large.name} of up to {coalitions} coalitions with {company}, trained on these rows"
        )
        departures.append(Departure(f"{waves[0].rounds} rounds", trained))
    return departures


def _small_models(
    config: Config, run: "PlannedRun", small: Sequence["ModelSpec"], company: str
) -> Departure:
    waves = [wave for step in run.sweep for wave in step]
    coalitions = (sum(len(wave.coalitions) for wave in waves) + 1) // 2  # it is in half of them
    up_to = "" if config.coalitions.design == "all" else "up to "
    itemsize = np.dtype(config.compute.dtype).itemsize
    n_bytes = waves[0].params_of_a_coalition * itemsize * coalitions
    return Departure(
        f"{waves[0].rounds} rounds",
        f"{', '.join(model.name for model in small)} of {up_to}{coalitions:,} coalitions with"
        f" {company}, {config.training.seeds} seeds, trained on these rows:"
        f" {n_bytes / MEGABYTE:,.1f} MB a round",
    )
