"""Least core and prenucleolus: divisions of the utility that leave the most dissatisfied coalition
least so.

The excess of coalition S at an allocation x is v(S) - v(empty) - (sum of x over S): what S would
gain by leaving. The least core minimises the largest excess; the prenucleolus minimises the list of
all excesses, sorted from the largest down. Unlike Shapley values neither is linear in the
utilities.

Shapes: N companies, P = 2**N - 2 proper nonempty coalitions, D directions in which the allocation
is still free, Q coalitions whose share changes along one of them."""

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
    """Least core of v - v(empty): (epsilon, allocation_N) (Maschler, Peleg and Shapley 1979).

    utilities: (2**N,), N <= 16. The allocation sums to v(grand) - v(empty); epsilon is its largest
    excess over proper nonempty coalitions, the smallest possible, and may be negative. The core is
    empty exactly when epsilon is positive, up to rounding. Where the least core is more than one
    point the allocation is the prenucleolus, the point in it that treats copies alike. One company
    alone has no proper coalition: epsilon is 0. Raises InputError for a bad table.

    >>> epsilon, allocation = least_core([0, 0, 0, 1, 0, 1, 0, 1])  # 0 needs one of 1 and 2, who
    are alike >>> round(epsilon, 9), allocation.round(9) + 0 (0.0, array([1., 0., 0.]))"""
    return _least_core_and_prenucleolus(utilities)


def prenucleolus(utilities: ArrayLike) -> NDArray[np.float64]:
    """Prenucleolus of v - v(empty) (Schmeidler 1969, without his individual rationality).

    utilities: (2**N,), N <= 16. Returns allocation_N, unique, which sums to v(grand) - v(empty).
    Raises InputError for a bad table."""
    return _least_core_and_prenucleolus(utilities)[1]


def _least_core_and_prenucleolus(utilities: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """Linear programs in turn (Kopelowitz 1967): minimise the largest excess, hold the coalitions
    that attain it in every solution, go on with those whose share can still change, until nothing
    is free. The first is the least core."""
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
    """Smallest e with excess - change @ step <= e, the step, and tight: excess equal to e in
    every solution.

    A positive multiplier proves a coalition tight; at least one is positive, since the multipliers
    sum to 1."""
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
