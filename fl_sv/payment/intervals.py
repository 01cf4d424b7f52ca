"""How certain the money is: the interval of every payout, in cents.

Shapes: N companies.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.valuation import Payouts
from fl_sv.payment.rules import rule_of
from fl_sv.valuation.records import Valuation


def money_intervals(
    valuation: Valuation, amounts: Mapping[str, int], rules: Payouts
) -> dict[str, tuple[int, int]]:
    """The interval of every company's payout, in cents: (low, high).

    A company's value is set to each end of its interval, and the pot is divided again by the rule.
    With Shapley values the other values change as well. Their sum is fixed by two
    measurements, so what one company gains the others lose, each in proportion to its variance.
    Other semivalues have no fixed sum; there the other values stay.

    amounts: cents by company, as paid.
    """
    pot, value_N = sum(amounts.values()), valuation.values
    half_N = np.array([(company.high - company.low) / 2 for company in valuation.companies])
    sum_is_fixed = valuation.semivalue == "shapley"
    intervals = {}
    for index, company in enumerate(valuation.companies):
        paid = amounts[company.name]
        low, high = (
            _cents(
                _with_value(value_N, half_N, index, end, sum_is_fixed=sum_is_fixed),
                index,
                pot,
                rules,
                paid,
            )
            for end in (company.low, company.high)
        )
        # The interval contains the payout, even if the payout has a cent of the remainder that an
        # end does not have.
        intervals[company.name] = (min(low, paid), max(high, paid))
    return intervals


def _with_value(
    value_N: NDArray[np.float64],
    half_N: NDArray[np.float64],
    index: int,
    value: float,
    *,
    sum_is_fixed: bool,
) -> NDArray[np.float64]:
    """The values when one company has another value."""
    moved_N = value_N.copy()
    moved_N[index] = value
    variance_N = half_N**2
    variance_N[index] = 0.0
    # The expected values of independent normal errors, given their sum: each takes a part of it in
    # proportion to its variance.
    if sum_is_fixed and variance_N.sum() > 0:
        moved_N -= (value - value_N[index]) * variance_N / variance_N.sum()
    return moved_N


def _cents(value_N: NDArray[np.float64], index: int, pot: int, rules: Payouts, paid: int) -> int:
    """What the rule pays the company at these values.

    paid: what it is paid now, and the answer where these values cannot divide a pot.
    """
    rule = rule_of(rules.negative)
    weight_N = np.array([rule.weight(value) for value in value_N.tolist()])
    total = weight_N.sum()
    return round(pot * float(weight_N[index] / total)) if total > 0 else paid
