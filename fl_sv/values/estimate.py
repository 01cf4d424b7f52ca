"""Shapley values from a part of the coalitions, with an interval for each.

Shapes: N companies, C coalitions evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fl_sv.errors import InputError
from fl_sv.game.coalitions import members_matrix
from fl_sv.values.corrected import corrected_surrogate
from fl_sv.values.exact import shapley
from fl_sv.values.inputs import LARGEST_UTILITY, as_numbers, spelled
from fl_sv.values.pairs import Evaluate
from fl_sv.values.permutations import antithetic, permutation
from fl_sv.values.regression import kernelshap, leverage
from fl_sv.values.shapiq_methods import SHAPIQ_METHODS, shapiq_method

Floats = NDArray[np.float64]
UtilityFunction = Callable[[NDArray[np.bool_]], Floats]
"""From the members of coalitions, bool (C, N), to their utilities (C,)."""

Method = Callable[[Evaluate, int, int, np.random.Generator], tuple[Floats, Floats]]
METHODS: dict[str, Method] = {
    "auto": corrected_surrogate,
    "permutation": permutation,
    "antithetic": antithetic,
    "kernelshap": kernelshap,
    "leverage": leverage,
}
"""The methods of this library. `shapiq_methods` adds those of the package shapiq."""
MOST_EVALUATIONS = 1 << 24
MOST_COMPANIES = 1000
MOST_MEMBERSHIPS = 1 << 27  # evaluations times companies: an estimate takes up to 3 GiB
ROUNDING = 1e-10  # of the largest utility: what the arithmetic may lose, in every interval


@dataclass(frozen=True, eq=False)
class Estimate:
    """Values with their intervals, in the unit of the utilities.

    values, low, high: (N,), low <= values <= high. The interval is pointwise: it holds one
        company's value with the stated level, not all values at once.
    n_evaluations: how many coalitions were evaluated.

    >>> found = estimate_shapley(lambda member_CN: member_CN.sum(axis=1) / 3, 3, budget=8)
    >>> found.values.round(3), found.n_evaluations
    (array([0.333, 0.333, 0.333]), 8)
    """

    values: Floats
    low: Floats
    high: Floats
    n_evaluations: int


def estimate_shapley(
    game: UtilityFunction,
    n_clients: int,
    budget: int,
    seed: int = 0,
    method: str = "auto",
    level: float = 0.9,
) -> Estimate:
    """Shapley values of `game` from at most `budget` coalitions, all evaluated in one call.

    game: function from bool (C, N), row c the members of coalition c, to float (C,), utilities.
    n_clients: number of companies N.
    budget: how many distinct coalitions may be evaluated, the empty and the grand one included. At
        2**N or more all are evaluated and the values are exact.
    seed: of the draw of the coalitions. Equal seeds give equal values.
    method: "auto" is recommended: a surrogate chosen by cross-validation, corrected on the sampled
        pairs. Others are "permutation", "antithetic", "kernelshap" and "leverage". With the package
        shapiq its methods can be named, too, such as "shapiq:SVARM"; they have no interval.
    level: of the two-sided interval of each value. The interval covers only the draw of the
        coalitions; a game that is itself random needs repeated runs.

    The values sum to v(grand) - v(empty). Where the budget is too small to judge the error (for
    "auto" below 4), the interval is infinite.

    Raises InputError for bad arguments, and when the game returns anything but C finite numbers.

    Ten companies, each worth its number, from 100 of 1024 coalitions:

    >>> worth = np.arange(10.0)
    >>> estimate = estimate_shapley(lambda members_CN: members_CN @ worth, 10, budget=100)
    >>> np.allclose(estimate.values, worth), estimate.n_evaluations
    (True, 100)
    """
    n_clients = _whole_number("n_clients", n_clients, 1, MOST_COMPANIES)
    budget = min(_whole_number("budget", budget, 2), 1 << n_clients)
    seed = _whole_number("seed", seed, 0)
    estimate = _method(method)
    if not callable(game):
        raise InputError(f"game is {game!r}; allowed is a function from bool (C, N) to float (C,)")
    if not isinstance(level, float | np.floating) or not 0.01 <= level <= 0.9999:
        raise InputError(
            f"level is {level!r}; allowed is a number from 0.01 to 0.9999, for example 0.9"
        )
    if budget > MOST_EVALUATIONS:
        raise InputError(
            f"budget means {budget} evaluations; allowed are at most {MOST_EVALUATIONS}"
        )
    if budget < 1 << n_clients and budget * n_clients > MOST_MEMBERSHIPS:
        raise InputError(
            f"budget is {budget} for {n_clients} companies; allowed are at most"
            f" {MOST_MEMBERSHIPS // n_clients} evaluations of so many"
        )
    evaluated: list[int] = []
    scale = spread = 1.0

    def evaluate(members_CN: NDArray[np.bool_]) -> Floats:
        """Utilities in units of about their range, so that no square overflows."""
        nonlocal scale, spread
        utility_C = _utilities(game, members_CN)
        evaluated.append(len(utility_C))
        # A power of two loses no bit.
        scale = float(2.0 ** np.frexp(np.ptp(utility_C))[1])
        spread = float(np.abs(utility_C / scale).max())
        return utility_C / scale

    if budget == 1 << n_clients:
        value_N = shapley(evaluate(members_matrix(range(budget), n_clients)))
        half_width_N = np.zeros(n_clients)
    else:
        value_N, stderr_N = estimate(evaluate, n_clients, budget, np.random.default_rng(seed))
        half_width_N = ndtri((1 + level) / 2) * stderr_N + ROUNDING * spread
    return Estimate(
        values=value_N * scale,
        low=(value_N - half_width_N) * scale,
        high=(value_N + half_width_N) * scale,
        n_evaluations=sum(evaluated),
    )


def _method(name: object) -> Method:
    """The method of this name, of shapiq's included. Raises InputError for an unknown one."""
    methods = METHODS | {method: partial(shapiq_method, method) for method in SHAPIQ_METHODS}
    if not isinstance(name, str) or name not in methods:
        raise InputError(f"method is {name!r}; allowed are {', '.join(methods)}")
    return methods[name]


def _utilities(game: UtilityFunction, members_CN: NDArray[np.bool_]) -> Floats:
    """The game's utilities, (C,). Raises InputError unless each is a finite number."""
    # A copy, for the game may write into what it is given.
    utility_C = as_numbers(game(members_CN.copy()), "what the game returned")
    if utility_C.shape != (len(members_CN),):
        raise InputError(
            f"the game returned the shape {utility_C.shape} for {len(members_CN)} coalitions; "
            f"allowed is one number for each, shape ({len(members_CN)},)"
        )
    unusable = np.flatnonzero(~(np.abs(utility_C) <= LARGEST_UTILITY))
    if len(unusable):
        coalition = sum(1 << i for i in np.flatnonzero(members_CN[unusable[0]]).tolist())
        raise InputError(
            f"the game returned no usable utility for {len(unusable)} of {len(utility_C)}"
            f" coalitions: the first is {utility_C[unusable[0]]} for coalition"
            f" {spelled(coalition)}. Allowed are finite numbers from -{LARGEST_UTILITY:g} to"
            f" {LARGEST_UTILITY:g}."
        )
    return utility_C


def _whole_number(name: str, given: object, least: int, most: int | None = None) -> int:
    """`given` as int. Raises InputError when it is something else or out of range."""
    if (
        isinstance(given, bool)
        or not isinstance(given, int | np.integer)
        or given < least
        or (most and given > most)
    ):
        allowed = f"from {least} to {most}" if most else f"of at least {least}"
        raise InputError(f"{name} is {given!r}; allowed is a whole number {allowed}")
    return int(given)
