"""Whatever a run would refuse later is refused here, before anything trains.

The configuration itself is checked when it is read (`fl_sv.config.checks`). Here it meets what it
names: the machine, users' own Python objects, files and their rows. `plan`, `run` on every backend
and the Flower app call the same `check` and `forecast`.

An object of the user's own is tried, on a tiny example of the work that it gets in a run. Models
are tried where their memory is known to suffice, in `fl_sv.planning.forecast`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fl_sv.app import import_app
from fl_sv.audit.lines import steps_remarks
from fl_sv.config import Config
from fl_sv.config.data import ColumnPartition
from fl_sv.config.models import Pretrained
from fl_sv.config.students import PublicRows
from fl_sv.data import (
    Dataset,
    OperatorData,
    Scaling,
    all_company_data,
    operator_data,
    public_rows,
    read_source,
    rows_left_out,
)
from fl_sv.data.dataset import labels_in
from fl_sv.data.encoding import unknown_sentence
from fl_sv.data.federation import few_rows_sentence, few_tuning_sentence
from fl_sv.data.owners import left_out_sentence
from fl_sv.errors import InputError, listed
from fl_sv.planning.own_law import try_law
from fl_sv.training.base_folder import description


@dataclass(frozen=True)
class CheckedData:
    """Results of the checks.

    validation: the operator's rows.
    examples: rows of every company; empty where they are not read.
    rows_left_out: of a shared source, those that belong to no company.
    remarks: what must be known about the data and is not wrong.
    """

    scaling: Scaling
    validation: Dataset
    examples: dict[str, int]
    rows_left_out: int = 0
    remarks: tuple[str, ...] = ()


def check(config: Config, *, own_data: bool = True) -> CheckedData:
    """Checks a config together with its data, this machine, and all objects of the user's own.

    own_data: whether to read the companies' own files as well. On a real federation the server has
        none of them.

    Raises InputError that names what is wrong.
    """
    check_device(config.compute.device)
    _check_bases(config)
    try_law(config)
    source = read_source(config)
    operator = operator_data(config, source)
    scaling, validation = operator.scaling, operator.validation
    if config.students is not None and operator.task.places:
        raise InputError(
            "distillation: a student learns from one answer of the teacher a row; these rows have"
            f" targets of shape {operator.task.places}. Leave the section out."
        )
    if config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows):
        public_rows(config, scaling)
    rows: Mapping[str, Dataset] = {}
    left_out: dict[str, int] = {}
    if source is not None or own_data:
        rows = all_company_data(config, scaling, source)
        left_out = rows_left_out(config, source)
    import_app("server.trial").try_strategy(config, scaling)
    return CheckedData(
        scaling,
        validation,
        {company: len(data) for company, data in rows.items()},
        sum(left_out.values()),
        _remarks(config, operator, rows, left_out),
    )


def _check_bases(config: Config) -> None:
    """Raises InputError when a folder holds no pretrained model. Tried models come later."""
    for model in (*config.models.small, config.models.large):
        if isinstance(model, Pretrained):
            try:
                description(Path(model.path))
            except InputError as error:
                raise InputError(f"models, {model.name}: {error}") from None


def check_device(device: str) -> None:
    """Raises InputError when `compute.device` is no device of this machine."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= n_devices:
        here = ", ".join(["cpu", *(f"cuda:{number}" for number in range(n_devices))])
        raise InputError(
            f"compute.device: there is no {device} on this machine, as torch {torch.__version__}"
            f" sees it. Allowed here: {here}."
        )


def _remarks(
    config: Config,
    operator: OperatorData,
    rows: Mapping[str, Dataset],
    left_out: Mapping[str, int],
) -> tuple[str, ...]:
    """Sentences on rows that are left out, and on what the validation set cannot score."""
    found, validation = list[str](), operator.validation
    partition = config.data.partition
    if isinstance(partition, ColumnPartition) and left_out:
        found.append(left_out_sentence(partition, sum(left_out.values()), left_out))
    rows = {config.legal_name(company): data for company, data in rows.items()}
    far = {company: operator.scaling.far_from(validation, data) for company, data in rows.items()}
    if far := {company: what for company, what in far.items() if what}:
        found.append(
            "Once scaled by the validation set, some companies' numbers are far beyond its own:"
            f" {listed([f'{company}: {what}' for company, what in far.items()], 3)}. Such rows"
            " outweigh all others in every training. Give validation rows that vary as much, give"
            " the column another unit, or leave it out."
        )
    holders = {"The operator": validation, **rows}
    found += filter(None, (unknown_sentence(who, data.unknown) for who, data in holders.items()))
    if few := few_rows_sentence(len(validation)):
        found.append(few)
    if operator.tuning is not None and (few := few_tuning_sentence(len(operator.tuning))):
        found.append(few)
    # Of a tokenizer's thousands of tokens many do not occur, which is worth no remark.
    if operator.task.kind == "classification" and operator.scaling.tokenizer is None:
        scored = {*labels_in(validation.y).tolist()}
        held = {int(label) for data in rows.values() for label in labels_in(data.y)}
        unscored = sorted({*range(operator.task.n_outputs)} - scored)
        if unscored:
            found.append(
                f"The validation set has no row of {_classes(unscored)}: what companies teach about"
                " it earns nothing."
            )
        unknown = sorted(scored - held) if rows else []
        if unknown:
            found.append(
                f"No company has a row of {_classes(unknown)}, which the validation set has."
            )
    return (*found, *steps_remarks(config))


def _classes(labels: list[int]) -> str:
    return f"{'class' if len(labels) == 1 else 'the classes'} {listed(labels)}"
