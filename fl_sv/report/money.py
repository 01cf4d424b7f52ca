"""Money beside the payouts: what an interval means in money, other ways to split, and the pot of the other kind.

Shapes: N companies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.schema import FixedPot, Payouts, PerformancePot
from fl_sv.payouts import allocate, pot_cents
from fl_sv.valuation import Valuation

SCENARIOS = (1.0, 0.9, 0.5, 0.0)  # share of the teacher's measured improvement over the untrained model


@dataclass(frozen=True)
class Splits:
    """The same sum by company: as paid, equally, and by number of examples; in cents."""

    paid: dict[str, int]
    equal: dict[str, int]
    by_size: dict[str, int]


@dataclass(frozen=True)
class Pots:
    """What a fixed pot and a performance pot pay in total, by how much the teacher improved."""

    performance: PerformancePot
    rows: tuple[tuple[float, float, int, int], ...]  # share of the improvement, utility, fixed cents, performance cents


def splits(amounts: Mapping[str, int], examples: Mapping[str, int]) -> Splits:
    """Every column adds up to the same cent."""
    names, total = list(amounts), sum(amounts.values())

    def divided(weights: Sequence[float]) -> dict[str, int]:
        return dict(zip(names, allocate(weights, total, names=names).tolist(), strict=True))

    return Splits(dict(amounts), divided([1.0] * len(names)), divided([examples[name] for name in names]))


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


def pots(rules: Payouts, untrained: float, deployed: float) -> Pots | None:
    """Both kinds of pot for a teacher as good as measured, or less so.

    A fixed pot is set beside the performance pot that pays the same for the measured teacher and nothing for the
    untrained model. None when the teacher is not above the untrained model: then no rate makes them equal.
    """
    gain = deployed - untrained
    if gain <= 0:
        return None
    fixed = pot_cents(rules.pot, deployed)
    if isinstance(rules.pot, FixedPot):
        # Not validated: the rate is a comparison's, and may lie beyond what a config may ask for.
        performance = PerformancePot.model_construct(
            kind="performance", cents_per_utility=fixed / gain, floor=untrained
        )
    else:
        performance = rules.pot
    utilities = [deployed if share == 1 else untrained + share * gain for share in SCENARIOS]
    rows = [(s, u, fixed, pot_cents(performance, u)) for s, u in zip(SCENARIOS, utilities, strict=True)]
    return Pots(performance, tuple(rows))


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
