"""Which coalitions to evaluate: pairs of a coalition and its complement, stratified by size,
without replacement.

The Shapley value of i is the mean over sizes k of E[v(S) - v(complement of S) | i in S, |S| = k]
(Zhang, Sun, Liu, Xiong, Pei and Ren 2023, "complementary contributions"): it depends on the
utilities only through these differences, and one pair tells something about every company.

Shapes: N companies, P pairs, H = floor(N/2) strata. A pair is represented by its smaller member;
where both have N/2 members, by the one with company 0."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Evaluate = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""members_CN of distinct coalitions -> utility_C."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The pairs drawn. `drawn` and `unseen` belong to a pair's stratum: how many of its pairs
    were drawn, and which part of it was not."""

    members: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    drawn: NDArray[np.int64]
    unseen: NDArray[np.float64]

    @property
    def n_companies(self) -> int:
        return int(self.members.shape[1])

    def differences(self, evaluate: Evaluate) -> tuple[NDArray[np.float64], float]:
        """differences = v(S) - v(complement), and v(grand) - v(empty); all evaluated in one call."""
        ends = np.repeat([[False], [True]], self.n_companies, axis=1)
        utility_C = evaluate(np.concatenate([ends, self.members, ~self.members]))
        smaller, larger = utility_C[2:].reshape(2, -1)
        return smaller - larger, float(utility_C[1] - utility_C[0])


def pairs_of(members: NDArray[np.bool_]) -> Pairs:
    """The pairs that these coalitions represent; of each size they must have been drawn evenly."""
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
    """`n_pairs` distinct pairs, spread over the sizes s in proportion to (s (N-s))**-exponent, as
    far as there are.

    0 spreads them evenly over the sizes (as leverage scores do), 1 as the Shapley kernel weighs the
    sizes."""
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
    """The members (P, N) of the pairs that each step adds, so that every step with all before it is
    a draw as `draw_pairs` makes it, but for the pairs of a single company and all others: the first
    step has all of them.

    n_pairs_by_step: pairs after each step, ascending, at least N.
    """
    strata_sizes = np.arange(2, n_companies // 2 + 1)
    counts_by_step = np.array(
        [
            _spread(total - n_companies, strata_sizes, n_companies, exponent)
            for total in n_pairs_by_step
        ]
    )
    counts_by_step = np.maximum.accumulate(
        counts_by_step, axis=0
    )  # rounding may favour a size at one step and not at the next
    strata = [
        _distinct(
            n_companies, size, most, generator
        )  # in random order, so any first part is a draw of its own
        for size, most in zip(strata_sizes.tolist(), counts_by_step[-1].tolist(), strict=True)
    ]
    steps: list[NDArray[np.bool_]] = []
    for before, after in pairwise([np.zeros_like(strata_sizes), *counts_by_step]):
        parts = [stratum[a:b] for stratum, a, b in zip(strata, before, after, strict=True)]
        singletons = [] if steps else [np.eye(n_companies, dtype=bool)]
        steps.append(np.concatenate([*singletons, np.empty((0, n_companies), dtype=bool), *parts]))
    return steps


def _existing(n_companies: int, size: int) -> int:
    """Pairs whose smaller member has this size."""
    return math.comb(n_companies, size) // (2 if 2 * size == n_companies else 1)


def _spread(
    total: int, strata_sizes: NDArray[np.int64], n_companies: int, exponent: float
) -> NDArray[np.int64]:
    """counts: whole numbers that sum to `total`, proportional to (s (N-s))**-exponent as far as
    there are pairs.
    """
    weights = np.power(strata_sizes * (n_companies - strata_sizes), -exponent, dtype=np.float64)
    weights[2 * strata_sizes == n_companies] /= (
        2  # every other stratum stands for two sizes, s and N-s
    )
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
    """`drawn` pairs whose smaller member has this size, distinct, each order of each choice equally
    likely.
    """
    existing = _existing(n_companies, size)
    if 2 * drawn > existing:
        # In lexicographic order those with company 0 come first: at size N/2 they are the
        # `existing` ones.
        member_indices = np.array(
            [
                c
                for c, _ in zip(
                    combinations(range(n_companies), size), range(existing), strict=False
                )
            ]
        )
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
