"""A smooth game fitted to the differences of the pairs, and its Shapley values in closed form.

The surrogate is the posterior mean of a Gaussian process with one of the covariances of
`fl_sv.values.covariances`. The rest follows from the covariance alone:

- the differences v(S) - v(complement) are again a Gaussian process, so one row a pair is fitted;
- Shapley values are linear: those of the surrogate are sums over those of the covariance's columns;
- the error of leaving one pair out costs nothing beside the fit, so covariance, weights and ridge
  are chosen by it.

First all companies have the same weight. Then their weights are proportional to the values found,
because a federation has large and small companies.

Shapes: N companies. "rows" are the sampled pairs and, last, the pair of the grand and the empty
coalition. "landmarks" are the rows whose covariances span the surrogate (Nystroem), "directions"
their independent combinations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.values.covariances import Covariance, Linear, covariances_for
from fl_sv.values.pairs import Pairs, pairs_of

Floats = NDArray[np.float64]

RIDGES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # relative to the mean variance of a row
# Up to this number of pairs the fit is exact. With it a covariance takes 0.1 s (one core, 2026-11).
MOST_LANDMARKS = 600
MOST_JUDGED = 4096  # pairs among which the choice is made; the fit is to all
MOST_ENTRIES = 1 << 23  # of one (rows, landmarks) matrix: 64 MiB
INDEPENDENT = 1e-12  # directions with less of the largest eigenvalue are rounding
EXPLAINED = 1e-9  # of the largest difference: what is left is the rounding of the game
REWEIGHTINGS = 2
LEAST_WEIGHT = 0.05  # of a company whose value is small or negative, where the mean is 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """The fit as linear maps of the differences, so that it fits any other game on the same pairs.

    directions: (rows, directions), orthonormal columns.
    unfitted: (directions,) part of a game along a direction that the ridge does not fit.
    direction_values: (directions, N) Shapley values of the surrogate of a game of length 1 along a
        direction.
    unexplained: (rows,) part of a row that no other row explains.
    error: the variance of a value that follows from the left-out residuals, up to a factor.
    """

    directions: Floats
    unfitted: Floats
    direction_values: Floats
    unexplained: Floats
    error: float

    def values(self, differences: Floats) -> Floats:
        """(N,) Shapley values of the surrogate fitted to `differences` (rows,)."""
        value_N: Floats = (self.directions.T @ differences) @ self.direction_values
        return value_N

    def left_out(self, differences: Floats) -> Floats:
        """(rows,) how far each row lies from the surrogate that is fitted to all other rows."""
        along = self.directions.T @ differences
        # The unfitted part is used directly. As 1 minus the fitted part it would be mere rounding
        # where ridges are small.
        residuals = (
            differences - self.directions @ along + self.directions @ (self.unfitted * along)
        )
        left_out: Floats = residuals / np.maximum(self.unexplained, INDEPENDENT)
        return left_out


def fit_surrogate(pairs: Pairs, differences: Floats, generator: np.random.Generator) -> Surrogate:
    """The surrogate with the smallest error on left-out pairs.

    It is chosen over all covariances, weights of the companies and RIDGES. Where an additive game
    explains all differences there is nothing to choose, and no ridge.

    differences: (rows,) v(S) - v(complement) of each pair, then v(grand) - v(empty).
    """
    row_members = _row_members(pairs)
    additive = _additive_fits(row_members, [0.0])[0]
    if len(pairs.members) >= pairs.n_companies and _explains(additive, differences):
        return additive
    n_pairs, equal_N = len(pairs.members), np.ones(pairs.n_companies)
    if n_pairs <= MOST_JUDGED:
        return _choose(_Fitting.of(pairs, differences, generator))[0]
    some = np.sort(generator.choice(n_pairs, MOST_JUDGED, replace=False))
    part = _Fitting.of(pairs_of(pairs.members[some]), differences[[*some, n_pairs]], generator)
    _, covariance, weight_N = _choose(part)
    whole = _Fitting.of(pairs, differences, generator)
    # The whole has fewer landmarks for each pair, so the additive game may fit it better.
    return min(whole.best(Linear(), equal_N), whole.best(covariance, weight_N), key=_error)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitting:
    """What surrogates are fitted to, and by what they are judged."""

    row_members: NDArray[np.bool_]  # (rows, N)
    differences: Floats  # (rows,)
    landmarks: NDArray[np.int64]  # rows
    importance: Floats  # (pairs,) of a squared left-out residual in the error of the values

    @classmethod
    def of(cls, pairs: Pairs, differences: Floats, generator: np.random.Generator) -> Self:
        """On all of these pairs, with landmarks drawn among them."""
        n_rows = len(differences)
        n_landmarks = min(n_rows, MOST_LANDMARKS, MOST_ENTRIES // n_rows)
        return cls(
            row_members=_row_members(pairs),
            differences=differences,
            landmarks=np.sort(generator.choice(n_rows, n_landmarks, replace=False)),
            # A residual of variance r in a stratum adds unseen * r / (drawn * s * (N-s)); the mean
            # over the stratum's pairs divides by `drawn` once more.
            importance=pairs.unseen
            / (pairs.drawn**2 * pairs.sizes * (pairs.n_companies - pairs.sizes)),
        )

    def best(self, covariance: Covariance, weight_N: Floats) -> Surrogate:
        """The best over the ridges."""
        if isinstance(covariance, Linear):
            fits = _additive_fits(self.row_members, RIDGES)
        else:
            landmark_members = self.row_members[self.landmarks]
            row_covariance = _covariance_of_differences(
                covariance, self.row_members, landmark_members, weight_N
            )
            landmark_values = _shapley_of_columns(covariance, landmark_members, weight_N)
            fits = _ridge_fits(row_covariance, self.landmarks, landmark_values)
        errors = [float(self.importance @ fit.left_out(self.differences)[:-1] ** 2) for fit in fits]
        return replace(fits[int(np.argmin(errors))], error=min(errors))


def _choose(fitting: _Fitting) -> tuple[Surrogate, Covariance, Floats]:
    """The best surrogate, with the covariance and the weights of the companies (N,) it has."""
    n_companies = fitting.row_members.shape[1]
    covariances, weight_N = covariances_for(n_companies), np.ones(n_companies)
    chosen = min(
        ((fitting.best(covariance, weight_N), covariance, weight_N) for covariance in covariances),
        key=lambda choice: _error(choice[0]),
    )
    for _ in range(REWEIGHTINGS):
        weight_N = _weights(chosen[0].values(fitting.differences))
        again = [
            (fitting.best(covariance, weight_N), covariance, weight_N)
            for covariance in covariances[1:]
        ]
        chosen = min([chosen, *again], key=lambda choice: _error(choice[0]))
    return chosen


def _error(surrogate: Surrogate) -> float:
    return surrogate.error


def _row_members(pairs: Pairs) -> NDArray[np.bool_]:
    """(rows, N): the pairs' coalitions, and last the grand one."""
    return np.vstack([pairs.members, np.ones((1, pairs.n_companies), dtype=bool)])


def _weights(value_N: Floats) -> Floats:
    """(N,) weights in proportion to the values, 1 on average."""
    weight_N = np.maximum(value_N / max(np.abs(value_N).mean(), np.finfo(float).tiny), LEAST_WEIGHT)
    normalised_N: Floats = weight_N / weight_N.mean()
    return normalised_N


def _ridge_fits(
    row_covariance: Floats, landmarks: NDArray[np.int64], landmark_values: Floats
) -> list[Surrogate]:
    """A surrogate for each ridge, not yet judged.

    row_covariance: (rows, landmarks). landmarks: their rows. landmark_values: (landmarks, N)
    Shapley values of the covariance's columns.
    """
    # Nystroem: the features are the rows in an orthonormal basis of the landmarks' span. Their own
    # eigenvectors then turn every ridge into a division, so that one decomposition serves them all.
    eigenvalues, basis = _independent(row_covariance[landmarks])
    basis /= np.sqrt(eigenvalues)
    mean_variance = float(eigenvalues.sum()) / len(landmarks)
    return _fits(row_covariance @ basis, basis.T @ landmark_values, mean_variance, RIDGES)


def _additive_fits(row_members: NDArray[np.bool_], ridges: Sequence[float]) -> list[Surrogate]:
    """A surrogate for each ridge with the linear covariance, not yet judged.

    Its features are known: the signs of the companies, one for each. Landmarks would not do. They
    span an additive game only where there are at least N, and with many pairs there are fewer.
    """
    signs = np.where(row_members, 1.0, -1.0)
    return _fits(signs, np.eye(signs.shape[1]), float(signs.shape[1]), ridges)


def _explains(surrogate: Surrogate, differences: Floats) -> bool:
    """Whether a game for every company, without a ridge, leaves nothing of the differences."""
    directions = surrogate.directions
    if directions.shape[1] < surrogate.direction_values.shape[1]:
        return False  # the pairs do not determine it
    left = differences - directions @ (directions.T @ differences)
    return bool(np.abs(left).max() <= EXPLAINED * np.abs(differences).max())


def _fits(
    features: Floats, feature_values: Floats, mean_variance: float, ridges: Sequence[float]
) -> list[Surrogate]:
    """A surrogate for each ridge, not yet judged: linear in the features of the rows.

    features: (rows, features). feature_values: (features, N) Shapley values of the game whose
    differences are a feature. mean_variance: of a row, which the ridges are relative to.
    """
    variances, rotation = _independent(features.T @ features)
    directions = features @ (rotation / np.sqrt(variances))  # orthonormal columns
    direction_values = (rotation / np.sqrt(variances)).T @ feature_values
    squares = directions**2
    # The part of each row outside the span: no direction fits it.
    beyond = np.maximum(1 - squares.sum(axis=1), 0)
    fits = []
    for ridge in ridges:
        unfitted = ridge * mean_variance / (variances + ridge * mean_variance)
        fits.append(
            Surrogate(
                directions=directions,
                unfitted=unfitted,
                direction_values=(1 - unfitted)[:, None] * direction_values,
                unexplained=beyond + squares @ unfitted,
                error=np.inf,
            )
        )
    return fits


def _independent(symmetric: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors of a positive semidefinite matrix, but for mere rounding."""
    eigenvalue, eigenvector = np.linalg.eigh(symmetric)
    keep = eigenvalue > INDEPENDENT * eigenvalue[-1]
    return eigenvalue[keep], eigenvector[:, keep]


def _covariance_of_differences(
    covariance: Covariance,
    row_members: NDArray[np.bool_],
    landmark_members: NDArray[np.bool_],
    weight_N: Floats,
) -> Floats:
    """(rows, landmarks) covariance of v(S) - v(complement of S) with v(T) - v(complement of T)."""
    # Bilinear: the covariance of two differences is a sum of four covariances.
    row_covariance = covariance.between(row_members, landmark_members, weight_N)
    row_covariance += covariance.between(~row_members, ~landmark_members, weight_N)
    row_covariance -= covariance.between(~row_members, landmark_members, weight_N)
    row_covariance -= covariance.between(row_members, ~landmark_members, weight_N)
    return row_covariance


def _shapley_of_columns(
    covariance: Covariance, landmark_members: NDArray[np.bool_], weight_N: Floats
) -> Floats:
    """(landmarks, N) Shapley values of the games S -> k(S, T) - k(S, complement of T).

    There is one game for each landmark T.
    """
    return covariance.shapley(landmark_members, weight_N) - covariance.shapley(
        ~landmark_members, weight_N
    )
