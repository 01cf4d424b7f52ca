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
"""member_CN of distinct coalitions -> utility_C."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The pairs drawn. `drawn_P` and `unseen_P` belong to a pair's stratum: how many of its pairs
    were drawn, and which part of it was not."""

    member_PN: NDArray[np.bool_]
    size_P: NDArray[np.int64]
    drawn_P: NDArray[np.int64]
    unseen_P: NDArray[np.float64]

    @property
    def n_companies(self) -> int:
        return int(self.member_PN.shape[1])

    def differences(self, evaluate: Evaluate) -> tuple[NDArray[np.float64], float]:
        """difference_P = v(S) - v(complement), and v(grand) - v(empty); all evaluated in one call."""
        ends_2N = np.repeat([[False], [True]], self.n_companies, axis=1)
        utility_C = evaluate(np.concatenate([ends_2N, self.member_PN, ~self.member_PN]))
        smaller_P, larger_P = utility_C[2:].reshape(2, -1)
        return smaller_P - larger_P, float(utility_C[1] - utility_C[0])


def pairs_of(member_PN: NDArray[np.bool_]) -> Pairs:
    """The pairs that these coalitions represent; of each size they must have been drawn evenly."""
    n_companies = member_PN.shape[1]
    size_P = member_PN.sum(axis=1)
    drawn_K = np.bincount(size_P, minlength=n_companies + 1)
    # Division of whole numbers: C(N, s) leaves the range of floats near N = 1030.
    unseen_K = [
        1 - drawn / _existing(n_companies, size) for size, drawn in enumerate(drawn_K.tolist())
    ]
    return Pairs(
        member_PN=member_PN,
        size_P=size_P,
        drawn_P=drawn_K[size_P],
        unseen_P=np.array(unseen_K)[size_P],
    )


def draw_pairs(
    n_companies: int, n_pairs: int, exponent: float, generator: np.random.Generator
) -> Pairs:
    """`n_pairs` distinct pairs, spread over the sizes s in proportion to (s (N-s))**-exponent, as
    far as there are.

    0 spreads them evenly over the sizes (as leverage scores do), 1 as the Shapley kernel weighs the
    sizes."""
    size_H = np.arange(1, n_companies // 2 + 1)
    drawn_H = _spread(n_pairs, size_H, n_companies, exponent)
    drawn = zip(size_H.tolist(), drawn_H.tolist(), strict=True)
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
    size_H = np.arange(2, n_companies // 2 + 1)
    drawn_SH = np.array(
        [_spread(total - n_companies, size_H, n_companies, exponent) for total in n_pairs_by_step]
    )
    drawn_SH = np.maximum.accumulate(
        drawn_SH, axis=0
    )  # rounding may favour a size at one step and not at the next
    strata = [
        _distinct(
            n_companies, size, most, generator
        )  # in random order, so any first part is a draw of its own
        for size, most in zip(size_H.tolist(), drawn_SH[-1].tolist(), strict=True)
    ]
    steps: list[NDArray[np.bool_]] = []
    for before_H, after_H in pairwise([np.zeros_like(size_H), *drawn_SH]):
        parts = [stratum[a:b] for stratum, a, b in zip(strata, before_H, after_H, strict=True)]
        alone = [] if steps else [np.eye(n_companies, dtype=bool)]
        steps.append(np.concatenate([*alone, np.empty((0, n_companies), dtype=bool), *parts]))
    return steps


def _existing(n_companies: int, size: int) -> int:
    """Pairs whose smaller member has this size."""
    return math.comb(n_companies, size) // (2 if 2 * size == n_companies else 1)


def _spread(
    total: int, size_H: NDArray[np.int64], n_companies: int, exponent: float
) -> NDArray[np.int64]:
    """drawn_H: whole numbers that sum to `total`, proportional to (s (N-s))**-exponent as far as
    there are pairs.
    """
    weight_H = np.power(size_H * (n_companies - size_H), -exponent, dtype=np.float64)
    weight_H[2 * size_H == n_companies] /= 2  # every other stratum stands for two sizes, s and N-s
    capacity_H = np.array(
        [min(_existing(n_companies, size), total) for size in size_H.tolist()], dtype=np.float64
    )
    full_H = np.zeros(len(capacity_H), dtype=bool)
    share_H = np.zeros(len(capacity_H))
    while not full_H.all():
        factor = (total - capacity_H[full_H].sum()) / weight_H[~full_H].sum()
        share_H = np.where(full_H, capacity_H, factor * weight_H)
        overfull_H = share_H > capacity_H
        if not overfull_H.any():
            break
        full_H |= overfull_H
        share_H = np.minimum(share_H, capacity_H)
    drawn_H = np.floor(share_H + 1e-9).astype(np.int64)
    remainder_H = np.where(drawn_H < capacity_H, share_H - drawn_H, -1.0)
    drawn_H[np.argsort(-remainder_H, kind="stable")[: total - drawn_H.sum()]] += 1
    return drawn_H


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
        member_CK = np.array(
            [
                c
                for c, _ in zip(
                    combinations(range(n_companies), size), range(existing), strict=False
                )
            ]
        )
        member_CN = np.zeros((existing, n_companies), dtype=bool)
        np.put_along_axis(member_CN, member_CK, True, axis=1)
        return member_CN[generator.choice(existing, drawn, replace=False)]
    member_CN = np.empty((0, n_companies), dtype=bool)
    while len(member_CN) < drawn:
        order_CN = generator.random((drawn, n_companies)).argsort(axis=1)
        more_CN = order_CN < size
        if 2 * size == n_companies:
            more_CN ^= ~more_CN[:, :1]
        member_CN = np.concatenate([member_CN, more_CN])
        first = np.unique(np.packbits(member_CN, axis=1), axis=0, return_index=True)[1]
        member_CN = member_CN[np.sort(first)]
    return member_CN[:drawn]
