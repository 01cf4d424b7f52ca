"""Which further large run says most about the values for its price.

A run at coalition S takes Cov(values, P(S)) Cov(values, P(S))' / Var(P(S)) off the covariance of the values. Greedy
A-optimal design: the largest trace of that by price comes first. What a run will measure does not matter for it, so
several runs are chosen before any of them is made.

Shapes: N companies, C coalitions, A large runs measured or chosen, P law parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import Prior, factored, shapley_columns
from fl_sv.law.process import covariance, value_covariance, value_cross_covariance, variance

# Runs whose worth differs by less than this share are equally good: rounding must not choose between them.
TIE = 1e-9
# Below this share of the largest variance a coalition is known, and what is left of it is rounding.
KNOWN = 1e-9


@dataclass(frozen=True)
class NextRun:
    """A large run that has not been made.

    narrower: share by which it narrows the standard deviations of the values, mean over companies; price: its examples
    as a share of the grand coalition's, so its cost in trainings of the teacher.
    """

    coalition: int
    narrower: float
    price: float


@dataclass(frozen=True)
class Uncertainty:
    """With some large runs known: covariance cross_NC of values and progress, and the variances of both."""

    cross_NC: NDArray[np.float64]
    variance_C: NDArray[np.float64]
    variance_N: NDArray[np.float64]


def best_runs(
    prior: Prior, data: LawData, amplitude: float, pool: Sequence[int], count: int, given: Sequence[int]
) -> list[NextRun]:
    """The `count` coalitions of `pool` to measure next, best first; of equally good ones the first in the pool.

    Fewer when the pool ends. A complete table only. amplitude: of the deviations, as the runs so far leave it; given:
    coalitions that will be measured anyway.
    """
    price_C = _prices(data)
    measured = set(data.anchor_A.tolist())
    rows = np.append(data.extra, [c for c in given if c not in measured]).astype(np.intp)
    passed = measured.union(given)
    left = [coalition for coalition in pool if coalition not in passed]
    chosen: list[NextRun] = []
    while left and len(chosen) < count:
        known = _given(prior, data, amplitude, rows)
        floor = KNOWN * float(known.variance_C.max()) + 1e-300
        less_NC = known.cross_NC[:, left] ** 2 / np.maximum(known.variance_C[left], floor)
        worth = less_NC.sum(axis=0) / price_C[left]
        best = int(np.argmax(worth >= worth.max() * (1 - TIE)))
        before_N = np.sqrt(known.variance_N)
        after_N = np.sqrt(np.maximum(known.variance_N - less_NC[:, best], 0.0))
        narrower = 1 - float(after_N.sum() / before_N.sum()) if before_N.any() else 0.0
        coalition = left.pop(best)
        chosen.append(NextRun(coalition, narrower, float(price_C[coalition])))
        rows = np.append(rows, coalition)
    return chosen


def _given(prior: Prior, data: LawData, amplitude: float, rows: NDArray[np.intp]) -> Uncertainty:
    """What the runs in `rows` leave uncertain."""
    members_CN, law_CP = data.members_CN, prior.sensitivity_CP
    law_NP, square = shapley_columns(law_CP), amplitude**2
    cross_NC = law_NP @ law_CP.T + square * value_cross_covariance(members_CN)
    variance_C = np.sum(law_CP**2, axis=1) + square * variance(members_CN)
    variance_N = np.sum(law_NP**2, axis=1) + square * np.diag(value_covariance(data.n_companies))
    if len(rows):
        cross_AC = square * covariance(members_CN[rows], members_CN) + law_CP[rows] @ law_CP.T
        factor, cross_NA = factored(cross_AC[:, rows]), cross_NC[:, rows]
        variance_C = variance_C - np.sum(cross_AC * cho_solve(factor, cross_AC), axis=0)
        variance_N = variance_N - np.sum(cross_NA.T * cho_solve(factor, cross_NA.T), axis=0)
        cross_NC = cross_NC - cho_solve(factor, cross_NA.T).T @ cross_AC
    return Uncertainty(cross_NC, variance_C, np.maximum(variance_N, 0.0))


def _prices(data: LawData) -> NDArray[np.float64]:
    """(C,) examples of each coalition as a share of all; members where examples are unknown."""
    examples_N = np.ones(data.n_companies) if data.examples_N is None else data.examples_N
    price_C: NDArray[np.float64] = np.maximum(data.members_CN @ examples_N / examples_N.sum(), 1e-300)
    return price_C
