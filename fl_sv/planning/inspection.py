"""What a company looks at before it joins: whether its file fits the run, and exactly what will
leave its machine.
"""

from pathlib import Path

import numpy as np

from fl_sv.config.load import load_config
from fl_sv.config.schema import Config
from fl_sv.data.dataset import Dataset, Task, fingerprint
from fl_sv.data.federation import at_path, company_data, operator_data, task_of
from fl_sv.data.files import read_table
from fl_sv.data.raw import Table
from fl_sv.data.sources import load_pool
from fl_sv.errors import InputError, suggestion

MAX_CLASSES_SHOWN = 20


def inspect_source(path: str, target: str) -> list[str]:
    """What a data file holds, without a config; `target` is the column to predict. Raises
    InputError if malformed.
    """
    table = read_table(path, target)
    return [
        *_shape(table),
        _targets(table),
        "Give the config instead of the file to check it against the run.",
    ]


def inspect_company(config_path: Path, company: str, path: str | None = None) -> list[str]:
    """The company's file against the config, and what leaves its machine in a run.

    `path` is the node's own data path and goes before the file that the config names. Where the
    operator's validation set can be read, the rows are prepared as for training; elsewhere all is
    checked that needs no other rows. Raises InputError when the file does not fit, or when the
    config has no such company or names no file for it."""
    config = load_config(config_path)
    if company not in config.companies:
        raise InputError(
            f"{config_path} has no company {company!r}. {suggestion(company, config.companies)}"
        )
    config = at_path(config, path)
    data = config.data
    table = _own_table(config, company, path)
    lines = [f"{company}:", *_shape(table)]
    if data.validation.file is None or Path(data.validation.file).is_file():
        scaling = operator_data(config).scaling
        task, rows = scaling.task, company_data(config, company, scaling, path)
        lines += [
            _counts(task, rows),
            "Prepared as for training: the features are those of the validation set.",
        ]
        return lines + _departures(config, task, company, rows)
    lines += [
        _targets(table),
        "Not checked: that the features are the operator's. Its validation file is not here.",
    ]
    return lines + _departures(config, task_of(data, table), company, None)


def _own_table(config: Config, company: str, path: str | None) -> Table:
    """The rows that the company's node reads, before anything is held out, divided or scaled."""
    data = config.data
    if data.source != "own":
        return load_pool(data)
    path = path or (data.files or {}).get(company)
    if path is None:
        raise InputError(f"The config names no file for {company}. Give yours with --data-path.")
    return read_table(path, data.target)


def _shape(table: Table) -> list[str]:
    names = (
        f": {', '.join(table.features[:10])}{', ...' if len(table.features) > 10 else ''}"
        if table.features
        else ""
    )
    return [
        f"source    {table.origin}",
        f"rows      {len(table):,} of shape {table.x.shape[1:]}{names}",
    ]


def _targets(table: Table) -> str:
    values, counts = np.unique(table.y, return_counts=True)
    if len(values) > MAX_CLASSES_SHOWN or (values != np.floor(values)).any():
        return (
            f"targets   {len(values):,} different ones from {values[0]:g} to {values[-1]:g}"
            f" ({table.target})"
        )
    each = ", ".join(f"{value:g}: {count}" for value, count in zip(values, counts, strict=True))
    return f"targets   rows of each in {table.target}: {each}"


def _counts(task: Task, rows: Dataset) -> str:
    if task.kind == "regression":
        return f"examples  {len(rows):,}"
    held = np.bincount(rows.y, minlength=task.n_outputs)
    each = (
        f": {', '.join(f'{k}: {count}' for k, count in enumerate(held))}"
        if len(held) <= MAX_CLASSES_SHOWN
        else ""
    )
    return f"examples  {len(rows):,} in {np.count_nonzero(held)} of {len(held)} classes{each}"


def _departures(config: Config, task: Task, company: str, rows: Dataset | None) -> list[str]:
    """What leaves the company, message by message. `rows` is None where they could not be prepared."""
    from fl_sv.config.strategies import is_the_game
    from fl_sv.design.large_runs import large_run_counts
    from fl_sv.design.sample import check_design, design_steps
    from fl_sv.design.waves import MEGABYTE, bytes_per_coalition
    from fl_sv.training.models import model_specs  # torch from here on

    check_design(config)
    small, large = model_specs(config, task)
    training = config.training
    coalitions = len(design_steps(config)[-1].coalitions) // 2  # of which the company is a member
    up_to = "" if config.coalitions.design == "all" else "up to "
    runs = training.large_seeds + (not is_the_game(config.teacher.strategy))
    megabytes = (
        bytes_per_coalition(config, [model.n_params for model in small]) * coalitions / MEGABYTE
    )
    count = "" if rows is None else f", {len(rows)}"
    print_of = "" if rows is None else f", {fingerprint(rows)}"
    departures = [
        ("registration", f"the number of examples{count}; the hash of the installed fl_sv"),
        ("registration", f"a fingerprint (sha256) of the rows{print_of}"),
        (
            f"{training.rounds * runs} rounds",
            f"{large.name} ({large.n_params:,} parameters), trained on these rows",
        ),
        (
            f"{training.rounds * runs} rounds",
            "the mean loss on these rows of the model that was received",
        ),
        (
            f"{training.rounds} rounds",
            (
                f"{', '.join(model.name for model in small)} of {up_to}{coalitions:,} coalitions"
                f" with {company}, {training.seeds} seeds, trained on these rows: {megabytes:,.1f}"
                " MB a round"
            ),
        ),
        (
            "every reply",
            "the number of examples and the seconds of training; of an error, its kind alone",
        ),
    ]
    counts = large_run_counts(config)
    if counts.larger:
        what = (
            f"{large.name} of up to {counts.larger} coalitions with {company}, trained on these"
            " rows"
        )
        departures.insert(5, (f"{training.rounds} rounds", what))
    if counts.singletons:
        departures.insert(
            5, ("1 message", f"{large.name}, trained on these rows alone, once a seed")
        )
    return [
        "Leaves this machine:",
        *(f"  {when:<14}{what}" for when, what in departures),
        (
            "Evaluation numbers: none besides that mean loss. Coalitions are scored on the"
            " operator's validation set."
        ),
        (
            "Stays here: rows, targets, names of columns, paths. What the parameters tell:"
            " docs/threat-model.md."
        ),
    ]
