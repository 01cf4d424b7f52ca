"""How certain the money is: every payout's interval in cents, and when a growing sample of
coalitions is enough.

Shapes: N companies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.valuation import Payouts
from fl_sv.design.sample import design_steps
from fl_sv.errors import VerificationError
from fl_sv.payment.payouts import money
from fl_sv.payment.settlement import NOT_DIVIDED, Evidence, appraised, divide
from fl_sv.progress import Progress
from fl_sv.valuation.records import Valuation

# of a value's variance: all other coalitions together would narrow no interval by more than 5 %
NEGLIGIBLE = 0.1


@dataclass(frozen=True)
class Certainty:
    """Of the payouts from the coalitions measured so far. width: of the widest payout's interval,
    in cents, None when nothing can be divided yet; reason: why no further coalitions are drawn,
    None when they are."""

    measured: int
    width: int | None
    company: str
    reason: str | None


def certainty(evidence: Evidence) -> Certainty:
    """How certain a sample makes the payouts. Raises InputError as the valuation does."""
    config, stop = evidence.config, evidence.config.coalitions.stop
    assert stop is not None, "all coalitions leave nothing to stop"
    _, valuation = appraised(evidence)
    measured = len(evidence.table.coalitions(valuation.small_model))
    payment = divide(evidence, valuation, (), config.payouts, ())
    last = measured >= len(design_steps(config)[-1].coalitions)
    if any(alarm.code == NOT_DIVIDED for alarm in payment.alarms):
        return Certainty(measured, None, "", "the most that the config allows" if last else None)
    intervals = money_intervals(valuation, payment.amounts, config.payouts)
    width, company = max((high - low, name) for name, (low, high) in intervals.items())
    if stop.widest_interval_cents is not None and width <= stop.widest_interval_cents:
        reason = "every payout is as certain as the config asks"
    elif last:
        reason = "the most that the config allows"
    elif stop.widest_interval_cents is not None and valuation.sampling_share < NEGLIGIBLE:
        reason = "hardly anything of the intervals is due to the sample"
    else:
        return Certainty(measured, width, company, None)
    return Certainty(measured, width, company, reason)


def is_enough(evidence: Evidence, progress: Progress) -> bool:
    """Whether no further coalitions are to be measured: all are, or `certainty` says why."""
    config = evidence.config
    if config.coalitions.stop is None:
        return True
    found = certainty(evidence)
    progress.say(
        f"{found.measured:,} coalitions measured: {certainty_words(found, config.payouts)}."
    )
    return found.reason is not None


def require_stop(evidence: Evidence) -> None:
    """Raises VerificationError when a sample ended before there was a reason to stop: who chooses
    when to stop could choose who is paid. That it did not go on for too long is not checked."""
    if evidence.config.coalitions.stop is not None and certainty(evidence).reason is None:
        raise VerificationError(
            "the sample of coalitions ended before the config's rule to stop was met"
        )


def certainty_words(found: Certainty, rules: Payouts) -> str:
    """The widest interval, and why the sample ends, in words."""
    if found.width is None:
        said = "there is nothing to divide yet"
    else:
        said = (
            f"the widest payout's interval is {money(found.width, rules.currency, rules.decimals)}"
            f" ({found.company})"
        )
    return said if found.reason is None else f"{said}; no further ones are drawn: {found.reason}"


def money_intervals(
    valuation: Valuation, amounts: Mapping[str, int], rules: Payouts
) -> dict[str, tuple[int, int]]:
    """Cents from, to by company: one value at a time at the ends of its interval, the sum divided
    again by the rule.

    An amount is no multiple of one value: it depends on the others' by the sum, and `clip` cuts at
    zero. The Shapley values' sum is fixed by two measurements, so what one company gains the others
    lose: each in proportion to its variance, as their expected values do when independent errors
    must cancel. Other semivalues have no fixed sum; the others' values stay where they are."""
    total, value_N = sum(amounts.values()), valuation.values
    half_N = np.array([(company.high - company.low) / 2 for company in valuation.companies])
    intervals = {}
    for index, company in enumerate(valuation.companies):
        paid = amounts[company.name]
        ends = [
            _cents(
                _moved(value_N, half_N, index, end, valuation.semivalue == "shapley"),
                index,
                total,
                rules,
                paid,
            )
            for end in (company.low, company.high)
        ]
        intervals[company.name] = (
            min(ends[0], paid),
            max(ends[1], paid),
        )  # an end may lack the cent of a remainder
    return intervals


def _moved(
    value_N: NDArray[np.float64],
    half_N: NDArray[np.float64],
    index: int,
    end: float,
    sum_is_fixed: bool,
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
    """What the rule pays the company at these values; what it is paid now when they leave nothing
    to divide by.
    """
    weight_N = np.maximum(value_N, 0.0) if rules.negative == "clip" else value_N
    total = weight_N.sum()
    return round(pot * float(weight_N[index] / total)) if total > 0 else paid
