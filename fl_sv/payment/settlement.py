"""From the evidence to the money: law, values and amounts, once every utility is known.

Every step is a pure function. `fl-sv verify` calls the same functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.audit.lines import AuditLine
from fl_sv.config import Config
from fl_sv.config.valuation import Payouts
from fl_sv.design.large_runs import (
    MoreSeeds,
    NextLargeRun,
    more_large_seeds,
    next_large_run,
)
from fl_sv.design.rates import TriedRates
from fl_sv.errors import InputError
from fl_sv.game.averaged import AveragedLosses
from fl_sv.game.utilities import UtilityTable
from fl_sv.law import Law
from fl_sv.law.alarms import Alarm
from fl_sv.payment.coverage import coverage_alarms
from fl_sv.payment.payouts import allocate, pot_cents
from fl_sv.progress import Progress
from fl_sv.valuation.appraise import appraise, paid_values, shapley_weighting
from fl_sv.valuation.axioms import axiom_alarms, order_alarms, rounding_alarms
from fl_sv.valuation.fit import fit_to_table
from fl_sv.valuation.groups import Groups
from fl_sv.valuation.records import Valuation
from fl_sv.values.weighting import Weighting

NOT_DIVIDED = "P1"  # the alarm that the pot could not be divided by the rule


@dataclass(frozen=True)
class TeacherLoss:
    """The deployed teacher on the validation set after a round; round 0 is the untrained model."""

    number: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class StudentLoss:
    """The deployed student on the validation set: the content of student.csv."""

    model: str
    parameters: int
    transfer_set: str
    rows: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Evidence:
    """Everything from which law, values and payouts are computed.

    Shapes: N companies, V validation examples.
    """

    config: Config
    table: UtilityTable
    sizes: dict[str, int]  # parameters of every model
    examples: dict[str, int]  # rows of every company, as registered
    fingerprints: dict[str, str]  # of every company's rows
    weighting: Weighting  # how Shapley values follow from the table's utilities
    # The value of each company for each validation example, by the largest small model.
    validation_NV: NDArray[np.float64]
    curve: tuple[TeacherLoss, ...]
    # Losses of averages of the companies' own models; None in runs of a version without them.
    averaged: AveragedLosses | None
    student: StudentLoss | None = None  # deployed in the teacher's place
    rows_left_out: int = 0  # of a shared source: those that belong to no company
    rates: TriedRates | None = None  # None where the config states all learning rates
    # Of the validation examples; None where one has several targets, and in runs of older versions.
    groups: Groups | None = None
    audit: tuple[AuditLine, ...] = ()  # none in runs of older versions

    @property
    def deployed_utility(self) -> float:
        """Measured utility of the model that earns the money."""
        return -(self.student or self.curve[-1]).loss


@dataclass(frozen=True)
class Payment:
    """Amounts by some rules, and the alarms that must be accepted before they are paid."""

    rules: Payouts
    accepted: tuple[str, ...]  # codes of the alarms that were accepted
    amounts: dict[str, int]  # cents
    alarms: tuple[Alarm, ...]  # of the law, of the axioms and of the split, accepted or not

    @property
    def objections(self) -> tuple[Alarm, ...]:
        """The alarms that block payment; none when the run is payable.

        An alarm that is accepted by name blocks nothing. NOT_DIVIDED cannot be accepted: there are
        no amounts.
        """
        return tuple(
            alarm
            for alarm in self.alarms
            if alarm.code == NOT_DIVIDED or alarm.code not in self.accepted
        )


@dataclass(frozen=True)
class Settlement:
    """The law, the values and the payment by the config's rules."""

    law: Law
    valuation: Valuation
    alarms: tuple[Alarm, ...]  # of the law and of the axioms
    payment: Payment
    next_run: NextLargeRun | None  # None when no large run may be added
    more_seeds: MoreSeeds


def settle(evidence: Evidence, progress: Progress | None = None) -> Settlement:
    """The law, the values and the payment that follow from the evidence.

    progress: where the stages law and values report, in a run.

    Raises InputError when the law cannot be fitted.
    """
    progress = progress or Progress("quiet")
    with progress.step("law"):
        law = fitted_law(evidence)
    with progress.step("values"):
        return _settled(evidence, law)


def _settled(evidence: Evidence, law: Law) -> Settlement:
    """What follows from the law."""
    config, valuation = evidence.config, values_by(law, evidence)
    alarms = (
        *law.alarms,
        *axiom_alarms(valuation.named(config.names), -law.predict()),
        *order_alarms(valuation.named(config.names), _values_in_reverse_order(evidence)),
    )
    payment = divide_pot(evidence, valuation, alarms, config.payouts, config.law.accept)
    next_run = next_large_run(
        config,
        evidence.table,
        law,
        evidence.weighting,
        evidence.sizes,
        evidence.examples,
        evidence.averaged,
    )
    valuation = replace(valuation, payable=not payment.objections)
    more_seeds = more_large_seeds(config, law, evidence.weighting, evidence.examples)
    return Settlement(law, valuation, alarms, payment, next_run, more_seeds)


def divide_pot(
    evidence: Evidence,
    valuation: Valuation,
    alarms: Sequence[Alarm],
    rules: Payouts,
    accepted: Sequence[str],
) -> Payment:
    """The payment of these values by some rules.

    When the pot cannot be divided, all amounts are 0 and an alarm gives the reason.

    alarms: of the law and the axioms.
    rules: the pot and the rule for negative values.
    accepted: codes of the alarms that do not block payment.
    """
    companies, names = evidence.config.companies, evidence.config.legal_names
    values = dict(zip(names, valuation.values.tolist(), strict=True))
    try:
        pot = pot_cents(rules.pot, evidence.deployed_utility)
        amount_N = allocate(
            valuation.values, pot, rules.negative, max_charge=rules.max_charge, names=names
        )
        amounts = dict(zip(companies, amount_N.tolist(), strict=True))
        problems = rounding_alarms(values, dict(zip(names, amounts.values(), strict=True)), pot)
    except InputError as error:
        amounts = dict.fromkeys(companies, 0)
        problems = [Alarm(NOT_DIVIDED, str(error), figures=_figures(valuation))]
    problems = [*problems, *coverage_alarms(valuation)]
    return Payment(rules, tuple(accepted), amounts, (*alarms, *problems))


def _figures(valuation: Valuation) -> dict[str, float]:
    """What decides whether a pot can be divided."""
    value_N = valuation.values
    return {
        "sum": float(value_N.sum()),
        "largest": float(value_N.max()),
        "smallest": float(value_N.min()),
    }


def fitted_law(evidence: Evidence) -> Law:
    """The law, from the losses of the small models and of the large runs."""
    return fit_to_table(
        evidence.config, evidence.table, evidence.sizes, evidence.examples, evidence.averaged
    )


def values_by(law: Law, evidence: Evidence) -> Valuation:
    """The values that follow from the law."""
    return appraise(
        evidence.config, evidence.table, law, evidence.weighting, evidence.validation_NV
    )


def _values_in_reverse_order(evidence: Evidence) -> dict[str, float]:
    """The values by company's name, computed again with the companies in reverse order."""
    config = evidence.config.model_copy(update={"companies": evidence.config.companies[::-1]})
    table, averaged = evidence.table.in_reverse_order(), evidence.averaged
    if averaged is not None:
        averaged = averaged.in_reverse_order(config.n_companies)
    law = fit_to_table(config, table, evidence.sizes, evidence.examples, averaged)
    value_N = paid_values(config, law, shapley_weighting(config, table))
    return dict(zip(config.legal_names, value_N.tolist(), strict=True))
