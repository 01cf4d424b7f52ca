"""Owen value: companies that belong together (subsidiaries, a hospital group) bargain as one union.

Shapes: N companies, C = 2**N coalitions (index = bitmask).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fl_sv.errors import InputError
from fl_sv.values.exact import semivalue_weights, shapley
from fl_sv.values.inputs import as_table


def owen(utilities: ArrayLike, unions: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Owen value of each company: Shapley between the unions, then inside each (Owen 1977).

    utilities: (2**N,) utility of every coalition, index = bitmask.
    unions: lists of company indices that name each of 0 .. N-1 exactly once.

    Returns the values (N,). They sum to v(grand) - v(empty), and those of a union to its Shapley
    value in the game between the unions. Raises InputError for a bad table or unions that are no
    partition.

    Company 0 needs company 1 or company 2. As a union these two get half instead of a third:

    >>> owen([0, 0, 0, 6, 0, 6, 0, 6], [[0], [1, 2]])
    array([3. , 1.5, 1.5])
    """
    utility_C, n_companies = as_table(utilities)
    groups = _as_partition(unions, n_companies)
    value_N = np.empty(n_companies)
    weight_by_size = semivalue_weights(len(groups), "shapley")
    for group in groups:
        others = [sum(1 << i for i in other) for other in groups if other is not group]
        other_unions = _unions_of(others)
        weight = weight_by_size[np.bitwise_count(_unions_of([1 << k for k in range(len(others))]))]
        # What each part of the union adds to the other unions, averaged over the orders of the
        # unions. This is a game among the union's own companies. (sets of other unions, parts)
        joined = other_unions[:, None] | _unions_of([1 << i for i in group])
        added = utility_C[joined] - utility_C[other_unions][:, None]
        value_N[group] = shapley((weight[:, None] * added).sum(axis=0))
    return value_N


def _unions_of(masks: list[int]) -> NDArray[np.int64]:
    """The 2**len(masks) unions of disjoint `masks`, index = bitmask over the list."""
    union = np.zeros(1, dtype=np.int64)
    for mask in masks:
        union = np.concatenate([union, union | mask])
    return union


def _as_partition(unions: Sequence[Sequence[int]], n_companies: int) -> list[list[int]]:
    """`unions` as lists of int. Raises InputError unless each company is in exactly one."""
    allowed = (
        f"allowed are lists of company indices that name each of 0 .. {n_companies - 1} exactly"
        " once"
    )
    try:
        groups = [list(union) for union in unions]
    except TypeError as error:
        raise InputError(f"unions is {unions!r}; {allowed}") from error
    named = [i for group in groups for i in group]
    wrong = [i for i in named if isinstance(i, bool) or not isinstance(i, int | np.integer)]
    if wrong:
        raise InputError(f"unions names {wrong[0]!r}, which is no company index; {allowed}")
    if sorted(named) != list(range(n_companies)) or not all(groups):
        raise InputError(f"unions is {groups}; {allowed}, and no empty list")
    return [[int(i) for i in group] for group in groups]
