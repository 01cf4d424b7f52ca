"""The money: law, values and amounts once every utility is known.

These steps are pure, from the evidence on, and `fl-sv verify` takes exactly the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.audit import axiom_alarms, twins
from fl_sv.config import Config
from fl_sv.config.schema import Payouts
from fl_sv.errors import InputError
from fl_sv.law import Law
from fl_sv.payouts import allocate, pot_cents
from fl_sv.utilities import UtilityTable
from fl_sv.valuation import Valuation, appraise, fit_to_table


@dataclass(frozen=True)
class TeacherLoss:
    """The deployed teacher on the validation set after a round; round 0 is the untrained model."""

    number: int
    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class Evidence:
    """Everything that the payouts rest on. Shapes: N companies, V validation examples."""

    config: Config
    table: UtilityTable
    sizes: dict[str, int]  # parameters of every model
    examples: dict[str, int]  # rows of every company, as registered
    fingerprints: dict[str, str]  # of every company's rows
    validation_NV: NDArray[np.float64]  # the small model's value of each company for each validation example
    curve: tuple[TeacherLoss, ...]

    @property
    def deployed_utility(self) -> float:
        """Measured utility of the model that earns the money."""
        return -self.curve[-1].loss


@dataclass(frozen=True)
class Settlement:
    """The law, the values and the amounts, and why they may not be paid without a decision."""

    law: Law
    valuation: Valuation
    amounts: dict[str, int]  # cents
    alarms: tuple[str, ...]  # every alarm of the law and of the axioms, accepted or not
    objections: tuple[str, ...]  # alarms that block payment; empty when payable
    remarks: tuple[str, ...]  # audit lines that block nothing


def settle(evidence: Evidence) -> Settlement:
    """Law, values and payouts from the evidence."""
    config = evidence.config
    law = fit_to_table(config, evidence.table, evidence.sizes, evidence.examples)
    valuation = appraise(config, evidence.table, law, evidence.validation_NV)
    amounts, problem = split(valuation.values, config.payouts, config.companies, evidence.deployed_utility)
    alarms = (*law.alarms, *axiom_alarms(valuation, -law.predict()))
    objections = blocking([*alarms, *problem], config.law.accept)
    valuation = replace(valuation, payable=not objections)
    return Settlement(law, valuation, amounts, alarms, objections, twins(evidence.fingerprints))


def split(
    values: NDArray[np.float64], rules: Payouts, companies: Sequence[str], deployed_utility: float
) -> tuple[dict[str, int], list[str]]:
    """Cents by company; when there is nothing to split everyone gets 0, and an alarm says so."""
    try:
        pot = pot_cents(rules.pot, deployed_utility)
        amount_N = allocate(values, pot, rules.negative, max_charge=rules.max_charge, names=companies)
    except InputError as error:
        return dict.fromkeys(companies, 0), [f"P1 payout: {error}"]
    return dict(zip(companies, amount_N.tolist(), strict=True)), []


def blocking(alarms: Sequence[str], accepted: Sequence[str]) -> tuple[str, ...]:
    """The alarms that were not accepted by name; an alarm's name is the code its sentence starts with."""
    return tuple(alarm for alarm in alarms if code_of(alarm) not in accepted)


def code_of(alarm: str) -> str:
    """D1, A2, P1, ...: the code with which an alarm's sentence starts."""
    return alarm.split(maxsplit=1)[0].rstrip(":")
