"""Our estimator, with an interval: a surrogate, corrected by its own residuals.

The correction averages the residuals of the sampled pairs as the Shapley value averages all pairs.
So an error of the surrogate on the sample does not enter the values. The idea of correcting a
fitted game is of Witter, Liu and Musco 2025, "regression-adjusted Monte Carlo".

Shapes: N companies. "rows" are the sampled pairs and, last, the pair of the grand and the empty
coalition; "sizes" are 0 .. N.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.values.pairs import Evaluate, Pairs, draw_pairs
from fl_sv.values.surrogate import Surrogate, fit_surrogate

Floats = NDArray[np.float64]

# The surrogate is chosen by its left-out residuals, so the smallest ones are chosen, and they are
# too small, above all with few pairs. Measured on six families of games with N = 12
# (benchmarks/estimators/games.py, 2026-11-21): nine of ten errors were below 2.0 to 3.8 times the
# stated one at 12 pairs, 1.6 to 2.5 at 15, 1.2 to 1.8 at 19, and 0.9 to 1.2 from 24 to 127. Below N
# pairs not even the slopes of a linear game are determined; there the factor is a guess.
CHOICE = 1.2
FEW_PAIRS = 1.6
# This draws more of the small and the large coalitions than the Shapley kernel (1.0) does. The
# error was 4 to 40 % smaller at 64 coalitions of 12 companies on six families of games, and the
# same from 128 on (2026-11-21).
SPREAD = 1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimator:
    """Shapley values as a linear map of the pairs' differences: values = differences @ row_weights.

    It was chosen on one game and values any other game on the same pairs. The values of each game
    sum to its own total.
    """

    row_weights: Floats  # (rows, N)
    _pairs: Pairs
    _surrogate: Surrogate
    _member_counts: Floats  # (sizes, N)
    _contributions: Floats  # (pairs, N)

    def covariance(self, differences: Floats) -> Floats:
        """(N, N) covariance of the values' errors by the draw of the pairs. differences: (rows,).

        The values of every draw sum to the total, so every row of the covariance sums to zero.
        """
        left_out = self._surrogate.left_out(differences)[:-1]
        return _covariance(self._pairs, left_out, self._member_counts, self._contributions)


def corrected_surrogate(
    evaluate: Evaluate, n_companies: int, budget: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Values and standard errors, (N,) each, from `budget` coalitions."""
    pairs = draw_pairs(n_companies, (budget - 2) // 2, SPREAD, generator)
    pair_differences, total = pairs.differences(evaluate)
    if len(pair_differences) == 0:
        return np.full(n_companies, total / n_companies), np.full(n_companies, np.inf)
    differences = np.append(pair_differences, total)
    estimator = fit_estimator(pairs, differences, generator)
    return differences @ estimator.row_weights, np.sqrt(np.diag(estimator.covariance(differences)))


def fit_estimator(pairs: Pairs, differences: Floats, generator: np.random.Generator) -> Estimator:
    """The estimator that is chosen by a game.

    differences: (rows,) v(S) - v(complement) of each pair, then v(grand) - v(empty).
    """
    surrogate = fit_surrogate(pairs, differences, generator)
    member_counts = _counts(pairs)
    # Values of the surrogate, plus the complementary contributions of its residuals: residual =
    # difference - fit.
    contributions = _complementary_contributions(pairs, member_counts)
    fitted_share = 1 - surrogate.unfitted
    fitted = fitted_share[:, None] * (surrogate.directions[:-1].T @ contributions)
    row_weights = surrogate.directions @ (surrogate.direction_values - fitted)
    row_weights[:-1] += contributions
    # The values must sum to the total. What is missing is divided equally.
    missing = -row_weights.sum(axis=1)
    missing[-1] += 1
    row_weights += missing[:, None] / pairs.n_companies
    return Estimator(
        row_weights=row_weights,
        _pairs=pairs,
        _surrogate=surrogate,
        _member_counts=member_counts,
        _contributions=contributions,
    )


def _counts(pairs: Pairs) -> Floats:
    """(sizes, N): how many sampled coalitions of a size have the company as a member."""
    member_counts = np.zeros((pairs.n_companies + 1, pairs.n_companies))
    np.add.at(member_counts, pairs.sizes, pairs.members)
    np.add.at(member_counts, pairs.n_companies - pairs.sizes, ~pairs.members)
    return member_counts


def _complementary_contributions(pairs: Pairs, member_counts: Floats) -> Floats:
    """(pairs, N) weights of the residuals in the values.

    A value is the mean over sizes of the mean residual there, 0 where there is none.
    """
    n_companies, sizes = pairs.n_companies, pairs.sizes
    share_by_size = 1 / (np.maximum(member_counts, 1) * n_companies)
    weights = np.where(pairs.members, share_by_size[sizes], -share_by_size[n_companies - sizes])
    # A part of the residuals that is common to a stratum belongs to all companies equally, and the
    # exact sum restores it. If it stayed here, it would favour the companies that were drawn more
    # often by chance. The stratum of size N/2 is left out: its pairs are represented by the half
    # with company 0, so their common part belongs to that company.
    sums = np.zeros_like(member_counts)
    np.add.at(sums, sizes, weights)
    sums[2 * np.arange(n_companies + 1) == n_companies] = 0
    centred: Floats = weights - sums[sizes] / pairs.drawn[:, None]
    return centred


def _covariance(
    pairs: Pairs, left_out: Floats, member_counts: Floats, contributions: Floats
) -> Floats:
    """(N, N) covariance of the correction, from residuals of pairs left out of the fit.

    left_out: (pairs,). The residuals of the fit itself cannot serve: they are 0 where a surrogate
    interpolates. contributions: (pairs, N) weights of the residuals in the values.
    """
    n_companies, n_pairs = pairs.n_companies, len(left_out)
    pairs_by_size = np.bincount(pairs.sizes, minlength=n_companies + 1)
    # A stratum without a pair gets the variance over all pairs.
    variance_by_size = np.full(n_companies + 1, np.mean(left_out**2))
    square_by_size = np.bincount(pairs.sizes, pairs.unseen * left_out**2, minlength=n_companies + 1)
    variance_by_size[pairs_by_size > 0] = (
        square_by_size[pairs_by_size > 0] / pairs_by_size[pairs_by_size > 0]
    )
    # One residual of a pair enters the values of all companies: positive in those of its members,
    # negative in the others'.
    weighted = contributions * np.sqrt(variance_by_size[pairs.sizes])[:, None]
    covariance_NN = weighted.T @ weighted
    # Where no coalition of a size has the company, its residual is that of a pair not drawn.
    all_sizes = np.arange(n_companies + 1)
    by_either_size = variance_by_size[np.minimum(all_sizes, n_companies - all_sizes)][1:-1, None]
    unmeasured_N = np.where(member_counts[1:-1] == 0, by_either_size, 0.0).sum(axis=0)
    covariance_NN[np.diag_indices(n_companies)] += unmeasured_N / n_companies**2
    # What the values do not sum to is divided equally.
    covariance_NN -= covariance_NN.mean(axis=0)
    covariance_NN -= covariance_NN.mean(axis=1)[:, None]
    inflation = CHOICE * (1 + FEW_PAIRS * (n_companies / n_pairs) ** 4)
    inflated_NN: Floats = inflation**2 * covariance_NN
    return inflated_NN
