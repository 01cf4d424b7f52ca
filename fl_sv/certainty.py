"""How certain the money is: every payout's interval in cents, and when a growing sample of coalitions is enough.

Shapes: N companies.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.schema import Payouts
from fl_sv.payouts import money
from fl_sv.progress import Progress
from fl_sv.settlement import Evidence, appraised, divide
from fl_sv.valuation import Valuation

NEGLIGIBLE = 0.1  # of a value's variance: all other coalitions together would narrow no interval by more than 5 %


def is_enough(evidence: Evidence, progress: Progress) -> bool:
    """Whether the coalitions measured so far are all, or a sample that pays everybody as surely as the config asks, or
    as surely as any sample could."""
    config = evidence.config
    if (stop := config.coalitions.stop) is None:
        return True
    _, valuation = appraised(evidence)
    payment = divide(evidence, valuation, (), config.payouts, ())
    intervals = money_intervals(valuation, payment.amounts, config.payouts)
    width, company = max((high - low, name) for name, (low, high) in intervals.items())
    measured = len(evidence.table.coalitions(valuation.small_model))
    cents = money(width, config.payouts.currency, config.payouts.decimals)
    progress.say(f"{measured:,} coalitions measured: the widest payout's interval is {cents} ({company}).")
    if stop.widest_interval_cents is None or width <= stop.widest_interval_cents:
        return stop.widest_interval_cents is not None
    if valuation.sampling_share < NEGLIGIBLE:
        progress.say("Hardly any of it is due to the sample: no further coalitions are drawn.")
        return True
    return False


def money_intervals(valuation: Valuation, amounts: Mapping[str, int], rules: Payouts) -> dict[str, tuple[int, int]]:
    """Cents from, to by company: one value at a time at the ends of its interval, the sum divided again by the rule.

    An amount is no multiple of one value: it depends on the others' by the sum, and `clip` cuts at zero. The Shapley
    values' sum is fixed by two measurements, so what one company gains the others lose: each in proportion to its
    variance, as their expected values do when independent errors must cancel. Other semivalues have no fixed sum;
    the others' values stay where they are.
    """
    total, value_N = sum(amounts.values()), valuation.values
    half_N = np.array([(company.high - company.low) / 2 for company in valuation.companies])
    intervals = {}
    for index, company in enumerate(valuation.companies):
        paid = amounts[company.name]
        ends = [
            _cents(_moved(value_N, half_N, index, end, valuation.semivalue == "shapley"), index, total, rules, paid)
            for end in (company.low, company.high)
        ]
        intervals[company.name] = min(ends[0], paid), max(ends[1], paid)  # an end may lack the cent of a remainder
    return intervals


def _moved(
    value_N: NDArray[np.float64], half_N: NDArray[np.float64], index: int, end: float, sum_is_fixed: bool
) -> NDArray[np.float64]:
    """The values with one company's at `end`."""
    moved_N = value_N.copy()
    moved_N[index] = end
    variance_N = half_N**2
    variance_N[index] = 0.0
    if sum_is_fixed and variance_N.sum() > 0:
        moved_N -= (end - value_N[index]) * variance_N / variance_N.sum()
    return moved_N


def _cents(value_N: NDArray[np.float64], index: int, pot: int, rules: Payouts, paid: int) -> int:
    """What the rule pays the company at these values; what it is paid now when they leave nothing to divide by."""
    weight_N = np.maximum(value_N, 0.0) if rules.negative == "clip" else value_N
    total = weight_N.sum()
    return round(pot * float(weight_N[index] / total)) if total > 0 else paid
