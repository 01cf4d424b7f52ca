"""From values to money: whole cents that add up exactly to the pot.

Shapes: N companies.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_sv.config.valuation import FixedPot, NegativeRule, PerformancePot
from fl_sv.errors import InputError
from fl_sv.files import AnyFile
from fl_sv.game.csv import read_table
from fl_sv.numbers import MAX_CENTS, whole_number
from fl_sv.payment.rules import rule_of
from fl_sv.values.inputs import as_numbers, in_order

COLUMNS = ("company", "amount_cents")


def allocate(
    values: ArrayLike,
    pot_cents: int,
    negative: NegativeRule = "clip",
    *,
    max_charge: int | None = None,
    names: Sequence[str] | None = None,
) -> NDArray[np.int64]:
    """Divides the pot in proportion to the values: (N,) whole cents that sum exactly to it.

    values: (N,) values of the companies, in any unit.
    pot_cents: the pot, in whole cents (the smallest unit of the currency).
    negative: `clip` pays in proportion to max(value, 0). `charge` pays pot * value / sum, so a
        company with a negative value pays; it needs a positive sum.
    max_charge: the most cents that a company is charged; the pot by default.
    names: of the companies, for messages and ties.

    The arithmetic is exact. Amounts are rounded down. The cents that are left over go to the
    largest remainders, ties by name (without `names` by position).

    Raises InputError (a ValueError) for values that are not finite numbers, a negative pot, values
    by which no pot can be divided, or a charge beyond `max_charge`.

    >>> allocate([3.0, 1.0, -1.0], 100).tolist()
    [75, 25, 0]
    """
    if names is not None:
        names = _checked_names(names)
    value_N = _checked_values(values, names)
    pot = _checked_cents("the pot", pot_cents)
    limit = pot if max_charge is None else _checked_cents("max_charge", max_charge)
    who = [f"company {i}" for i in range(len(value_N))] if names is None else names
    rule = rule_of(negative)
    shares = [rule.weight(Fraction(value)) for value in value_N.tolist()]
    if pot == 0:
        return np.zeros(len(shares), dtype=np.int64)
    total = sum(shares)
    if total <= 0:
        raise InputError(
            f"There is nothing to split: {rule.unmet}. The run is not payable by the rule"
            f" {negative}."
        )
    exact = [pot * share / total for share in shares]
    for company, amount in zip(who, exact, strict=True):
        if amount < -limit:
            raise InputError(
                f"{company} would be charged {math.ceil(-amount)} cents, more than max_charge ="
                f" {limit}. Take the rule clip, or raise payouts.max_charge in a new run's config."
            )
    return _largest_remainder(exact, pot, names or [f"{i:09d}" for i in range(len(exact))])


def pot_cents(pot: FixedPot | PerformancePot, deployed_utility: float) -> int:
    """The pot in cents.

    A performance pot is round(max(0, utility - floor) * cents_per_utility), with the utility of
    the deployed model.
    """
    if isinstance(pot, FixedPot):
        return pot.cents
    return round(max(0.0, deployed_utility - pot.floor) * pot.cents_per_utility)


def payouts_csv(amounts: dict[str, int]) -> str:
    """The text of `payouts.csv`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *amounts.items()])
    return text.getvalue()


def read_payouts(path: AnyFile) -> dict[str, int]:
    """The amounts in payouts.csv, in cents by company. Raises InputError that names the line."""
    amounts: dict[str, int] = {}
    for row, where in read_table(path, COLUMNS):
        try:
            amounts[row["company"]] = whole_number(row["amount_cents"])
        except (TypeError, ValueError):
            raise InputError(f"{where}: {row} is no payout in whole cents.") from None
    return amounts


def money(cents: int, currency: str, decimals: int) -> str:
    """An amount as people read it.

    >>> money(123450, "EUR", 2)
    '1,234.50 EUR'
    """
    unit = 10**decimals
    sign, whole, rest = "-" if cents < 0 else "", abs(cents) // unit, abs(cents) % unit
    fraction = f".{rest:0{decimals}d}" if decimals else ""
    return f"{sign}{whole:,}{fraction} {currency}"


def _checked_values(values: ArrayLike, names: Sequence[str] | None) -> NDArray[np.float64]:
    value_N = as_numbers(values, "values")
    if value_N.ndim != 1 or value_N.size == 0:
        raise InputError(
            "values must be a list of one number per company; given an array of shape"
            f" {value_N.shape}."
        )
    if not np.isfinite(value_N).all():
        bad = int(np.flatnonzero(~np.isfinite(value_N))[0])
        raise InputError(
            f"the value of company {bad} is {value_N[bad]}; every value must be a finite number."
        )
    if names is not None and len(names) != len(value_N):
        raise InputError(
            f"{len(names)} names are given for {len(value_N)} values; every company needs one."
        )
    return value_N


def _checked_names(names: Sequence[str]) -> list[str]:
    ordered = in_order(names, "names")
    if isinstance(ordered, str) or not isinstance(ordered, Iterable):
        raise InputError(f"names is {names!r}; allowed is a list of one name per company.")
    return list(ordered)


def _checked_cents(what: str, cents: int) -> int:
    if (
        isinstance(cents, bool)
        or not isinstance(cents, int | np.integer)
        or not 0 <= cents <= MAX_CENTS
    ):
        raise InputError(
            f"{what} is {cents!r}; it must be a whole number of cents from 0 to 10**15."
        )
    return int(cents)


def _largest_remainder(exact: list[Fraction], pot: int, names: Sequence[str]) -> NDArray[np.int64]:
    floors = [math.floor(amount) for amount in exact]
    left = pot - sum(floors)
    order = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], names[i]))
    for index in order[:left]:
        floors[index] += 1
    return np.array(floors, dtype=np.int64)
