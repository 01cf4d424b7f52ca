"""The rules for negative values: the weight of each company's value when the pot is divided.

A new rule is one entry here, and its name in `NegativeRule` of the config.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from fl_sv.config.valuation import NegativeRule
from fl_sv.errors import InputError

Number = TypeVar("Number", float, Fraction)


@dataclass(frozen=True)
class PayoutRule:
    """One rule. The pot is divided in proportion to the weights, which must have a positive sum.

    weight: of a company's value, in exact arithmetic (Fraction) or in float64.
    unmet: why there is nothing to split where the weights have no positive sum.
    description: for readers of a report.
    """

    weight: Callable[[Number], Number]
    unmet: str
    description: str


RULES: dict[NegativeRule, PayoutRule] = {
    "clip": PayoutRule(
        weight=lambda value: max(value, type(value)(0)),
        unmet="no value is positive",
        description=(
            "A company with a negative value is paid nothing. The others share the pot in"
            " proportion to their values."
        ),
    ),
    "charge": PayoutRule(
        weight=lambda value: value,
        unmet="the sum of the values is not positive",
        description=(
            "The pot is divided in proportion to the values. A company with a negative value is"
            " charged."
        ),
    ),
}


def rule_of(name: str) -> PayoutRule:
    """The rule of this name. Raises InputError for another name."""
    for known, rule in RULES.items():
        if known == name:
            return rule
    allowed = " and ".join(map(repr, RULES))
    raise InputError(f"negative is {name!r}; allowed are {allowed}.")
