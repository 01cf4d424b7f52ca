"""Which further large run reduces the uncertainty of the values most for its price.

With u(S) the normalised utility of coalition S, a run at S takes

    Cov(values, u(S)) Cov(values, u(S))' / (Var(u(S)) + seed noise of the run)

off the covariance of the values. All are those given the runs so far. Runs share their seeds, so
the earlier ones also show a part of the new run's noise. The design is greedy and A-optimal
(Chaloner and Verdinelli 1995): the run with the largest trace of that matrix, divided by its price,
comes first. The choice does not depend on what a run will measure, so several runs are chosen
before any of them is made.

Shapes: N companies, C coalitions. "runs" are the large runs that are measured or chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import SAMPLE_BLOCK, Scales, shapley_columns
from fl_sv.law.prior import PARTS, Prior, factored
from fl_sv.law.process import covariance, value_covariance, value_cross_covariance, variance

Floats = NDArray[np.float64]

# Runs whose gain differs by less than this share are equally good: rounding must not choose
# between them.
TIE = 1e-9
# A coalition with less than this share of the largest variance is known: the rest is rounding.
KNOWN = 1e-9
# Nobody's examples cost next to nothing.
LEAST_PRICE = 1e-12


@dataclass(frozen=True)
class NextRun:
    """A large run that has not been made.

    coalition: its bitmask.
    narrower: share by which it reduces the part of the values' standard deviations that comes from
        the law, in the mean over companies.
    price: its examples as a share of the grand coalition's, that is its cost in large trainings of
        all companies.
    """

    coalition: int
    narrower: float
    price: float


@dataclass(frozen=True)
class Uncertainty:
    """The covariances that are left when some large runs are known."""

    cross_NC: Floats  # covariance of the values with a run's normalised utility
    variance_C: Floats  # of a run's normalised utility, its seed noise included
    variance_N: Floats  # of the values


def best_runs(
    prior: Prior,
    data: LawData,
    scales: Scales,
    pool: Sequence[int],
    count: int,
    given: Sequence[int],
    weight_CN: Floats | None,
) -> list[NextRun]:
    """The `count` coalitions of `pool` to measure next, best first; fewer where the pool ends.

    Of equally good ones the first in the pool is taken.

    scales: of the parts of a deviation and of the seed noise, given the runs so far.
    given: coalitions that will be measured anyway.
    weight_CN: if given, the values are weight_CN.T @ utility_C; otherwise they are the Shapley
        values of a complete table.

    Raises InputError when a coalition has no small loss.
    """
    squares = scales.weights @ scales.parts
    noise = prior.noise.of_means_over(1 / float(scales.weights @ scales.noise))
    prior = replace(prior, noise=noise)
    price_C, before = _prices(data), _before_any_run(prior, data, squares, weight_CN)
    rows = np.union1d(data.large_run_rows, data.rows([*given])).astype(np.intp)
    skipped = {*data.measured_rows.tolist(), *rows.tolist()}
    left = [row for row in data.rows([*pool]).tolist() if row not in skipped]
    chosen: list[NextRun] = []
    while left and len(chosen) < count:
        known = _given(before, prior, data, squares, rows)
        floor = KNOWN * float(known.variance_C.max()) + 1e-300
        # By how much a run at each of the coalitions left would reduce each value's variance.
        less_NC = known.cross_NC[:, left] ** 2 / np.maximum(known.variance_C[left], floor)
        worth = less_NC.sum(axis=0) / price_C[left]
        best = int(np.argmax(worth >= worth.max() * (1 - TIE)))
        before_N = np.sqrt(known.variance_N)
        after_N = np.sqrt(np.maximum(known.variance_N - less_NC[:, best], 0.0))
        narrower = 1 - float(after_N.sum() / before_N.sum()) if before_N.any() else 0.0
        row = left.pop(best)
        chosen.append(NextRun(data.coalition_C[row], narrower, float(price_C[row])))
        rows = np.append(rows, row)
    return chosen


def _before_any_run(
    prior: Prior, data: LawData, squares: Floats, weight_CN: Floats | None
) -> Uncertainty:
    """The uncertainty from the law's parameters and the deviations from it, before any run."""
    members_CN, law_sensitivity = data.members_CN, prior.sensitivity
    law_values = (
        shapley_columns(law_sensitivity) if weight_CN is None else weight_CN.T @ law_sensitivity
    )
    cross_NC = law_values @ law_sensitivity.T
    variance_C = np.sum(law_sensitivity**2, axis=1) + prior.noise.std_C**2
    variance_N = np.sum(law_values**2, axis=1)
    for part, square in zip(PARTS, squares, strict=True):
        if weight_CN is None:
            part_NC = value_cross_covariance(part, members_CN)
            part_N = np.diag(value_covariance(part, data.n_companies))
        else:
            blocks = range(0, len(members_CN), SAMPLE_BLOCK)
            part_NC = np.concatenate(
                [
                    weight_CN.T @ covariance(part, members_CN, members_CN[b : b + SAMPLE_BLOCK])
                    for b in blocks
                ],
                axis=1,
            )
            part_N = np.sum(part_NC * weight_CN.T, axis=1)
        cross_NC = cross_NC + square * part_NC
        variance_C = variance_C + square * variance(part, members_CN)
        variance_N = variance_N + square * part_N
    return Uncertainty(cross_NC, variance_C, variance_N)


def _given(
    before: Uncertainty, prior: Prior, data: LawData, squares: Floats, rows: NDArray[np.intp]
) -> Uncertainty:
    """The uncertainty that the runs in `rows` leave: `before`, conditioned on them."""
    if not len(rows):
        return before
    members_CN, law_sensitivity = data.members_CN, prior.sensitivity
    run_cross = law_sensitivity[rows] @ law_sensitivity.T
    run_cross = run_cross + prior.noise.covariance(rows, slice(None))
    for part, square in zip(PARTS, squares, strict=True):
        run_cross = run_cross + square * covariance(part, members_CN[rows], members_CN)
    factor = factored(run_cross[:, rows])
    value_cross = before.cross_NC[:, rows]
    return Uncertainty(
        before.cross_NC - cho_solve(factor, value_cross.T).T @ run_cross,
        before.variance_C - np.sum(run_cross * cho_solve(factor, run_cross), axis=0),
        np.maximum(
            before.variance_N - np.sum(value_cross.T * cho_solve(factor, value_cross.T), axis=0),
            0.0,
        ),
    )


def _prices(data: LawData) -> Floats:
    """(C,) examples of each coalition as a share of all; members where examples are unknown."""
    examples_N = np.ones(data.n_companies) if data.examples_N is None else data.examples_N
    price_C: Floats = data.members_CN @ examples_N / examples_N.sum()
    return np.maximum(price_C, LEAST_PRICE)
