"""The draw of the coalitions to evaluate: pairs of a coalition and its complement.

The pairs are stratified by size and drawn without replacement. The Shapley value of i is the mean
over sizes k of E[v(S) - v(complement of S) | i in S, |S| = k] (Zhang, Sun, Liu, Xiong, Pei and Ren
2023, "complementary contributions"). So it depends on the utilities only through these differences,
and one pair carries information on every company.

A pair is represented by the smaller of its two coalitions; where both have N/2 members, by the one
with company 0.

Shapes: N companies, C coalitions. "strata" are the sizes 1 .. floor(N/2) of the smaller coalition.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, pairwise

import numpy as np
from numpy.typing import NDArray

Evaluate = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""From the members of distinct coalitions, bool (C, N), to their utilities (C,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The pairs that were drawn, each by the members of the coalition that represents it."""

    members: NDArray[np.bool_]  # (pairs, N)
    sizes: NDArray[np.int64]  # (pairs,) number of members
    drawn: NDArray[np.int64]  # (pairs,) how many pairs of its stratum were drawn
    unseen: NDArray[np.float64]  # (pairs,) which share of its stratum was not drawn

    @property
    def n_companies(self) -> int:
        """Number of companies N."""
        return int(self.members.shape[1])

    def differences(self, evaluate: Evaluate) -> tuple[NDArray[np.float64], float]:
        """v(S) - v(complement) of each pair (pairs,), and v(grand) - v(empty).

        All coalitions are evaluated in one call.
        """
        ends = np.repeat([[False], [True]], self.n_companies, axis=1)
        utility_C = evaluate(np.concatenate([ends, self.members, ~self.members]))
        smaller, larger = utility_C[2:].reshape(2, -1)
        return smaller - larger, float(utility_C[1] - utility_C[0])


def pairs_of(members: NDArray[np.bool_]) -> Pairs:
    """The pairs that these coalitions represent.

    members: (pairs, N), drawn evenly among the coalitions of each size.
    """
    n_companies = members.shape[1]
    sizes = members.sum(axis=1)
    drawn_by_size = np.bincount(sizes, minlength=n_companies + 1)
    # Division of whole numbers: C(N, s) leaves the range of floats near N = 1030.
    unseen_by_size = [
        1 - drawn / _existing(n_companies, size)
        for size, drawn in enumerate(drawn_by_size.tolist())
    ]
    return Pairs(
        members=members,
        sizes=sizes,
        drawn=drawn_by_size[sizes],
        unseen=np.array(unseen_by_size)[sizes],
    )


def draw_pairs(
    n_companies: int, n_pairs: int, exponent: float, generator: np.random.Generator
) -> Pairs:
    """`n_pairs` distinct pairs, spread over the sizes s in proportion to (s (N-s))**-exponent.

    A stratum with fewer pairs than its part gives all of them, and the others give more.

    exponent: 0 spreads the pairs evenly over the sizes, as leverage scores do; 1 spreads them as
        the Shapley kernel weighs the sizes.
    """
    strata_sizes = np.arange(1, n_companies // 2 + 1)
    counts = _spread(n_pairs, strata_sizes, n_companies, exponent)
    drawn = zip(strata_sizes.tolist(), counts.tolist(), strict=True)
    strata = [_distinct(n_companies, size, count, generator) for size, count in drawn]
    return pairs_of(np.concatenate([np.empty((0, n_companies), dtype=bool), *strata]))


def draw_nested(
    n_companies: int,
    n_pairs_by_step: Sequence[int],
    exponent: float,
    generator: np.random.Generator,
) -> list[NDArray[np.bool_]]:
    """Pairs in steps: every step together with all before it is a draw as `draw_pairs` makes it.

    The pairs of a singleton and its complement are an exception: the first step has all of them.

    n_pairs_by_step: how many pairs there are after each step, ascending, at least N.

    Returns the members of the pairs that each step adds, (pairs, N) each.
    """
    strata_sizes = np.arange(2, n_companies // 2 + 1)
    counts_by_step = np.array(
        [
            _spread(total - n_companies, strata_sizes, n_companies, exponent)
            for total in n_pairs_by_step
        ]
    )
    # Rounding may favour a size at one step and not at the next.
    counts_by_step = np.maximum.accumulate(counts_by_step, axis=0)
    # In random order, so any first part of a stratum is a draw of its own.
    strata = [
        _distinct(n_companies, size, most, generator)
        for size, most in zip(strata_sizes.tolist(), counts_by_step[-1].tolist(), strict=True)
    ]
    steps: list[NDArray[np.bool_]] = []
    for before, after in pairwise([np.zeros_like(strata_sizes), *counts_by_step]):
        parts = [stratum[a:b] for stratum, a, b in zip(strata, before, after, strict=True)]
        singletons = [] if steps else [np.eye(n_companies, dtype=bool)]
        steps.append(np.concatenate([*singletons, np.empty((0, n_companies), dtype=bool), *parts]))
    return steps


def _existing(n_companies: int, size: int) -> int:
    """How many pairs there are whose smaller coalition has this size."""
    return math.comb(n_companies, size) // (2 if 2 * size == n_companies else 1)


def _spread(
    total: int, strata_sizes: NDArray[np.int64], n_companies: int, exponent: float
) -> NDArray[np.int64]:
    """How many pairs each stratum gives (strata,), `total` in all.

    Proportional to (s (N-s))**-exponent as far as there are pairs; what is left over by rounding
    goes to the largest remainders.
    """
    weights = np.power(strata_sizes * (n_companies - strata_sizes), -exponent, dtype=np.float64)
    # Every stratum but this one stands for two sizes, s and N-s.
    weights[2 * strata_sizes == n_companies] /= 2
    capacities = np.array(
        [min(_existing(n_companies, size), total) for size in strata_sizes.tolist()],
        dtype=np.float64,
    )
    full = np.zeros(len(capacities), dtype=bool)
    shares = np.zeros(len(capacities))
    while not full.all():
        factor = (total - capacities[full].sum()) / weights[~full].sum()
        shares = np.where(full, capacities, factor * weights)
        overfull = shares > capacities
        if not overfull.any():
            break
        full |= overfull
        shares = np.minimum(shares, capacities)
    counts = np.floor(shares + 1e-9).astype(np.int64)
    remainders = np.where(counts < capacities, shares - counts, -1.0)
    counts[np.argsort(-remainders, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _distinct(
    n_companies: int, size: int, drawn: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """`drawn` distinct pairs whose smaller coalition has this size, in random order: (drawn, N).

    Each choice, in each order, is equally likely.
    """
    existing = _existing(n_companies, size)
    if 2 * drawn > existing:
        # In lexicographic order those with company 0 come first: at size N/2 they are the
        # `existing` ones.
        choices = islice(combinations(range(n_companies), size), existing)
        member_indices = np.array(list(choices))
        members_CN = np.zeros((existing, n_companies), dtype=bool)
        np.put_along_axis(members_CN, member_indices, True, axis=1)
        return members_CN[generator.choice(existing, drawn, replace=False)]
    members_CN = np.empty((0, n_companies), dtype=bool)
    while len(members_CN) < drawn:
        order_CN = generator.random((drawn, n_companies)).argsort(axis=1)
        more_CN = order_CN < size
        if 2 * size == n_companies:
            more_CN ^= ~more_CN[:, :1]
        members_CN = np.concatenate([members_CN, more_CN])
        first = np.unique(np.packbits(members_CN, axis=1), axis=0, return_index=True)[1]
        members_CN = members_CN[np.sort(first)]
    return members_CN[:drawn]
