"""Checks of a config and its data that need neither torch nor Flower."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fl_sv.config import Config
from fl_sv.config.data import ColumnPartition
from fl_sv.config.strategies import STRATEGIES
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
from fl_sv.data.federation import few_rows_sentence
from fl_sv.data.owners import left_out_sentence
from fl_sv.design.sample import check_design_size
from fl_sv.errors import InputError, listed
from fl_sv.valuation.fit import try_law


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
    """Checks a config together with its data.

    own_data: whether to read the companies' own files as well. On a real federation the server has
        none of them.

    Raises InputError that names what is wrong.
    """
    check_design_size(config)
    check_strategy(config)
    try_law(config)
    source = read_source(config)
    operator = operator_data(config, source)
    scaling, validation = operator.scaling, operator.validation
    if config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows):
        public_rows(config, scaling)
    if source is None and not own_data:
        return CheckedData(scaling, validation, {}, remarks=_remarks(config, operator, {}, 0))
    rows = all_company_data(config, scaling, source)
    left_out = sum(rows_left_out(config, source).values())
    return CheckedData(
        scaling,
        validation,
        {company: len(data) for company, data in rows.items()},
        left_out,
        _remarks(config, operator, rows, left_out),
    )


def _remarks(
    config: Config, operator: OperatorData, rows: Mapping[str, Dataset], left_out: int
) -> tuple[str, ...]:
    """Sentences on rows that are left out, and on what the validation set cannot score."""
    found, validation = [], operator.validation
    partition = config.data.partition
    if isinstance(partition, ColumnPartition) and left_out:
        found.append(left_out_sentence(partition, left_out))
    if few := few_rows_sentence(len(validation)):
        found.append(few)
    if operator.task.kind == "classification":
        scored = {*np.unique(validation.y).tolist()}
        held = {int(label) for data in rows.values() for label in np.unique(data.y)}
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
    return tuple(found)


def _classes(labels: list[int]) -> str:
    return f"{'class' if len(labels) == 1 else 'the classes'} {listed(labels)}"


def check_strategy(config: Config) -> None:
    """Checks the teacher's strategy by what fl-sv knows of it.

    Raises InputError when the strategy or an option is unknown, when an option's value is not
    allowed, or when the strategy needs more companies than there are. The class and the options of
    a user's own strategy are checked when it is made.
    """
    name, options = config.teacher.strategy, config.teacher.options
    if ":" in name:
        return
    if name not in STRATEGIES:
        raise InputError(
            f"teacher.strategy: there is no strategy {name!r}. Built in are"
            f" {', '.join(STRATEGIES)}; any other Flower Strategy is given as package.module:Class."
        )
    facts = STRATEGIES[name]
    unknown = [option for option in options if option not in facts.options]
    if unknown:
        allowed = ", ".join(facts.options) or "no options"
        raise InputError(
            f"teacher.options: {name} has no option {unknown[0]!r}; it takes {allowed}."
        )
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InputError(
                f"teacher.options.{option}: {value!r} given; {name} takes a number of at least 0."
            )
        if option.startswith("num_") and not isinstance(value, int):
            raise InputError(
                f"teacher.options.{option}: {value!r} given; a whole number is needed."
            )
    malicious = int(options.get("num_malicious_nodes", 0))
    if config.n_companies < facts.minimum(malicious):
        raise InputError(
            f"teacher.strategy: {name} with num_malicious_nodes={malicious} needs at least "
            f"{facts.minimum(malicious)} companies, {facts.why}; there are {config.n_companies}. "
            "Choose another strategy or fewer malicious nodes."
        )
