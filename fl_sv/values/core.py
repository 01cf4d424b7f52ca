"""Least core and prenucleolus: allocations that leave no coalition much to gain by leaving.

The excess of coalition S at an allocation x is v(S) - v(empty) - (sum of x over S): what S would
gain by leaving. The least core minimises the largest excess. The prenucleolus minimises the list of
all excesses, sorted from the largest down. Unlike Shapley values, neither is linear in the
utilities.

Shapes: N companies, C = 2**N coalitions. "proper" are the 2**N - 2 coalitions besides the empty and
the grand one, "directions" those in which the allocation is still free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import null_space
from scipy.optimize import linprog

from fl_sv.errors import FlsvError, InputError
from fl_sv.game.coalitions import members_matrix
from fl_sv.values.inputs import as_table

# For utilities scaled to a range of 1. HiGHS solves to 1e-7 and, at a vertex, to about 1e-15.
TOLERANCE = 1e-9
# 65534 constraints: the linear programs take seconds (2 cores, 2026-11); each further company at
# least doubles that.
MOST_COMPANIES = 16


def least_core(utilities: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """The least core of v - v(empty), as (epsilon, allocation) (Maschler, Peleg and Shapley 1979).

    utilities: (2**N,) utility of every coalition, index = bitmask; N <= 16.

    Returns the largest excess over the proper nonempty coalitions, which is the smallest possible
    and may be negative, and the allocation (N,), which sums to v(grand) - v(empty). The core is
    empty exactly when epsilon is positive, up to rounding. Where the least core is more than one
    point, the allocation is the prenucleolus: the point in it that treats equal companies equally.
    With one company there is no proper coalition, and epsilon is 0.

    Raises InputError for a bad table.

    Company 0 needs company 1 or company 2; these two can replace each other and get nothing:

    >>> epsilon, allocation = least_core([0, 0, 0, 1, 0, 1, 0, 1])
    >>> round(epsilon, 9), allocation.round(9) + 0
    (0.0, array([1., 0., 0.]))
    """
    return _least_core_and_prenucleolus(utilities)


def prenucleolus(utilities: ArrayLike) -> NDArray[np.float64]:
    """The prenucleolus of v - v(empty) (Schmeidler 1969, without his individual rationality).

    utilities: (2**N,) utility of every coalition, index = bitmask; N <= 16.

    Returns the allocation (N,), which is unique and sums to v(grand) - v(empty). Raises InputError
    for a bad table.

    >>> prenucleolus([0, 0, 0, 1, 0, 0, 0, 1]).round(9) + 0  # 0 and 1 need each other, not 2
    array([0.5, 0.5, 0. ])
    """
    return _least_core_and_prenucleolus(utilities)[1]


def _least_core_and_prenucleolus(utilities: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """Both, by linear programs in turn (Kopelowitz 1967).

    Each minimises the largest excess among the coalitions whose share can still change. Coalitions
    that have this excess in every solution are then held fixed. The first program gives the least
    core's epsilon. After the last one nothing can change: that point is the prenucleolus.
    """
    utility_C, n_companies = as_table(utilities)
    if n_companies > MOST_COMPANIES:
        raise InputError(
            f"utilities has {n_companies} companies; the least core and the prenucleolus take at"
            f" most {MOST_COMPANIES}"
        )
    scale = float(np.ptp(utility_C)) or 1.0
    scaled_C = (utility_C - utility_C[0]) / scale
    proper_members = members_matrix(range(1, len(scaled_C) - 1), n_companies).astype(np.float64)
    allocation_N = np.full(n_companies, scaled_C[-1] / n_companies)
    free_directions = null_space(np.ones((1, n_companies)))
    epsilons = []
    while free_directions.shape[1]:
        changes = proper_members @ free_directions
        can_change = np.abs(changes).max(axis=1) > TOLERANCE
        excesses = scaled_C[1:-1] - proper_members @ allocation_N
        epsilon, step, tight = _lower_largest_excess(excesses[can_change], changes[can_change])
        epsilons.append(epsilon * scale + 0.0)
        allocation_N += free_directions @ step
        free_directions = free_directions @ null_space(changes[can_change][tight], rcond=TOLERANCE)
    return (epsilons[0] if epsilons else 0.0), allocation_N * scale


def _lower_largest_excess(
    excesses: NDArray[np.float64], changes: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.bool_]]:
    """One linear program: the smallest e for which some step has excesses - changes @ step <= e.

    excesses: (coalitions,). changes: (coalitions, directions), of the coalitions' shares.

    Returns e, the step (directions,), and which coalitions are tight (coalitions,): their excess is
    e in every solution. A positive multiplier proves a coalition tight. At least one is positive,
    since the multipliers sum to 1.
    """
    n_coalitions, n_free = changes.shape
    solution = linprog(
        np.append(np.zeros(n_free), 1.0),
        A_ub=-np.column_stack([changes, np.ones(n_coalitions)]),
        b_ub=-excesses,
        bounds=(None, None),
        method="highs-ds",
    )
    if not solution.success:
        raise FlsvError(f"the linear program of the least core was not solved: {solution.message}")
    return float(solution.x[-1]), solution.x[:-1], -solution.ineqlin.marginals > TOLERANCE
