"""The law fitted to a utility table, by the family that the config asks for.

Shapes: N companies, M small sizes, R seeds, C coalitions of the design.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fl_sv.config import Config
from fl_sv.game.averaged import AveragedLosses
from fl_sv.game.coalitions import place_of
from fl_sv.game.utilities import UtilityTable
from fl_sv.law import Law, fit_law
from fl_sv.law.diagnostics import Findings
from fl_sv.law.families import FamilyOf
from fl_sv.law.inputs import Table
from fl_sv.law.noise import expected_std, std_of_means
from fl_sv.plugins import resolve
from fl_sv.valuation.students import with_student_alarm


def fit_to_table(
    config: Config,
    table: UtilityTable,
    sizes: Mapping[str, int],
    examples: Mapping[str, int],
    averaged: AveragedLosses | None,
) -> Law:
    """The law from the small models' losses to the large one's; its alarms name the companies.

    sizes: parameters of every model, by name.
    examples: rows of every company, by name.
    averaged: losses of averages of the companies' own models; None where they are unknown.

    Raises InputError when a training is missing, or when the law is a user's function and cannot be
    imported or used.
    """
    *small, large = table.models
    losses_RCM = np.stack([table.loss_by_seed(model) for model in small], axis=2)
    losses_CM = losses_RCM.mean(axis=0)
    coalitions = table.coalitions(small[-1])
    known = None if averaged is None else averaged.of(coalitions)
    small_losses: Table = losses_CM
    averages: Table | None = known
    if len(coalitions) < 1 << config.n_companies:
        small_losses = dict(zip(coalitions, losses_CM, strict=True))
        averages = None if known is None else dict(zip(coalitions, known, strict=True))
    law = fit_law(
        small_losses,
        table.mean_losses(large),
        sizes=[sizes[model] for model in table.models],
        examples=[examples[company] for company in config.companies],
        by_seed=losses_RCM if len(losses_RCM) > 1 else None,
        averaged=averages,
        large_std=_measured_noise(table),
        family=law_family(config),
        level=config.values.level,
    )

    def of_this_run(found: Findings) -> Findings:
        alarms = tuple(alarm.named(config.legal_names) for alarm in found.alarms)
        return with_student_alarm(config, replace(found, alarms=alarms))

    return law.with_findings(of_this_run)


def _measured_noise(table: UtilityTable) -> dict[int, float] | None:
    """The standard deviation of each large run's mean loss; None with one seed, which shows none.

    What the seeds show is pooled over the runs with as many members, and weighed against what the
    small models lead to expect.
    """
    large_R = table.loss_by_seed(table.large)  # (R, large runs)
    if len(large_R) < 2:
        return None
    runs = table.coalitions(table.large)
    size = np.array([run.bit_count() for run in runs])
    small_RC, expected = table.loss_by_seed(table.largest_small), None
    if len(small_RC) > 1:
        coalitions = table.coalitions(table.largest_small)
        size_C = np.array([coalition.bit_count() for coalition in coalitions])
        mean_loss = large_R.mean(axis=0)
        expected_C = expected_std(small_RC, size_C, float(mean_loss[0] - mean_loss[-1]))
        expected = np.array([expected_C[place_of(run, coalitions)] for run in runs])
    std = std_of_means(large_R, size, expected)
    return dict(zip(runs, std.tolist(), strict=True))


def law_family(config: Config) -> str | FamilyOf:
    """The `family` of fit_law that the config names.

    Raises InputError when a function of the user's own cannot be imported.
    """
    name = config.law.family
    if ":" not in name:
        return name
    family: FamilyOf = resolve(name, "law.family")
    return family
