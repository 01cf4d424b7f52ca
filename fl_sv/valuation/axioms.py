"""Checks of every run: the axioms on the values that are to be paid, and companies with equal rows.

Shapes: N companies, C coalitions of the design, all 2**N (index = bitmask) or a sample.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.alarms import Alarm
from fl_sv.valuation.records import Valuation

# What the check of each axiom examines, a clause with "whether". An alarm means no.
AXIOM_QUESTIONS = {
    "A1": "whether the values add up to the total improvement",
    "A2": "whether a company that changes no utility has the value zero",
    "A3": "whether interchangeable companies have the same value",
    "A4": "whether the values stay the same when the companies are listed in another order",
    "A5": "whether the amounts in cents keep the sum, the equality and the order of the values",
}
TOLERANCE = 1e-9  # relative to the total, as everywhere in a recomputation


def axiom_alarms(valuation: Valuation, utility_C: NDArray[np.float64]) -> list[Alarm]:
    """An alarm for each axiom that the values break: efficiency, null player, symmetry.

    utility_C: the utilities that the values are computed from.

    On a sample only efficiency can be checked: it lacks most marginal contributions, and the
    estimates of equal companies differ by chance, within their intervals.
    """
    value_N = valuation.values
    total = valuation.utility_grand - valuation.utility_empty
    slack = TOLERANCE * max(1.0, float(np.abs(utility_C).max()))
    names = [company.name for company in valuation.companies]
    alarms: list[Alarm] = []
    if valuation.semivalue == "shapley" and abs(value_N.sum() - total) > slack:
        alarms.append(
            Alarm(
                "A1",
                f"the values sum to {value_N.sum()!r}, but there is {total!r} to be"
                " divided (efficiency).",
                figures={"sum": float(value_N.sum()), "total": float(total)},
            )
        )
    if len(utility_C) < 1 << len(names):
        return alarms
    for i, name in enumerate(names):
        marginals = _without_with(utility_C, i)
        if np.ptp(marginals, axis=1).max() <= slack and abs(value_N[i]) > slack:
            alarms.append(
                Alarm(
                    "A2",
                    f"{name} changes no coalition's utility, but its value is"
                    f" {value_N[i]!r} (null player).",
                    coalition=1 << i,
                    figures={"value": float(value_N[i])},
                )
            )
    for i, j in combinations(range(len(names)), 2):
        if abs(value_N[i] - value_N[j]) > slack and _interchangeable(utility_C, i, j, slack):
            alarms.append(
                Alarm(
                    "A3",
                    f"{names[i]} and {names[j]} are interchangeable, but their values"
                    " differ (symmetry).",
                    coalition=1 << i | 1 << j,
                    figures={"difference": float(abs(value_N[i] - value_N[j]))},
                )
            )
    return alarms


def order_alarms(valuation: Valuation, again: Mapping[str, float]) -> list[Alarm]:
    """An alarm where the order of the companies changes a value.

    again: the values by company, from the same evidence with the companies in another order.
    """
    slack = TOLERANCE * max(1.0, float(np.abs(valuation.values).max()))
    moved = [c for c in valuation.companies if not abs(c.value - again[c.name]) <= slack]
    return [
        Alarm(
            "A4",
            f"with the companies listed in reverse order {company.name} has the value "
            f"{again[company.name]!r} instead of {company.value!r} (order).",
            figures={"value": company.value, "value_again": again[company.name]},
        )
        for company in moved[:1]
    ]


def rounding_alarms(
    values: Mapping[str, float], amounts: Mapping[str, int], pot: int
) -> list[Alarm]:
    """An alarm for each property of the values that the division into cents has lost.

    values, amounts: by company; amounts and pot in cents.
    """
    alarms: list[Alarm] = []
    slack = TOLERANCE * max(1.0, max(map(abs, values.values())))
    if sum(amounts.values()) != pot:
        alarms.append(
            Alarm(
                "A5",
                f"the amounts sum to {sum(amounts.values())} cents; the pot is {pot} (rounding).",
                figures={"sum": float(sum(amounts.values())), "pot": float(pot)},
            )
        )
    for pair in combinations(values, 2):
        less, more = sorted(pair, key=values.__getitem__)
        difference = amounts[more] - amounts[less]
        if values[more] - values[less] <= slack:
            if abs(difference) > 1 + 2 * pot * slack:
                alarms.append(
                    Alarm(
                        "A5",
                        f"{less} and {more} have the same value, but are paid"
                        f" {abs(difference)} cents apart (rounding).",
                        figures={"cents_apart": float(abs(difference))},
                    )
                )
        elif difference < -1:
            alarms.append(
                Alarm(
                    "A5",
                    f"{more} has a larger value than {less}, but is paid {-difference}"
                    " cents less (rounding).",
                    figures={"cents_less": float(-difference)},
                )
            )
    return alarms


def twins(fingerprints: Mapping[str, str]) -> tuple[str, ...]:
    """A remark for every set of companies that registered exactly the same rows."""
    holders: dict[str, list[str]] = {}
    for company, fingerprint in fingerprints.items():
        holders.setdefault(fingerprint, []).append(company)
    return tuple(
        f"{' and '.join(companies)} hold exactly the same rows. The value of these rows is divided"
        " between them."
        for companies in holders.values()
        if len(companies) > 1
    )


def _without_with(utility_C: NDArray[np.float64], i: int) -> NDArray[np.float64]:
    """(C/2, 2) utilities without and with company i."""
    return utility_C.reshape(-1, 2, 1 << i).swapaxes(1, 2).reshape(-1, 2)


def _interchangeable(utility_C: NDArray[np.float64], i: int, j: int, slack: float) -> bool:
    """Whether i and j, i < j, add the same to every coalition of the others."""
    cube = utility_C.reshape(-1, 2, 1 << (j - i - 1), 2, 1 << i)
    return bool(np.abs(cube[:, 0, :, 1, :] - cube[:, 1, :, 0, :]).max() <= slack)
