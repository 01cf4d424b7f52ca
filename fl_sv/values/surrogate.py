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

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.values.covariances import Covariance, covariances_for
from fl_sv.values.pairs import Pairs

Floats = NDArray[np.float64]

RIDGES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # relative to the mean variance of a row
# Up to this number of pairs the fit is exact. With it a covariance takes 0.1 s (one core, 2026-11).
MOST_LANDMARKS = 600
MOST_ENTRIES = 1 << 23  # of one (rows, landmarks) matrix: 64 MiB
INDEPENDENT = 1e-12  # directions with less of the largest eigenvalue are rounding
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

    It is chosen over all covariances, weights of the companies and RIDGES.

    differences: (rows,) v(S) - v(complement) of each pair, then v(grand) - v(empty).
    """
    row_members = np.vstack([pairs.members, np.ones((1, pairs.n_companies), dtype=bool)])
    n_landmarks = min(len(row_members), MOST_LANDMARKS, MOST_ENTRIES // len(row_members))
    landmarks = np.sort(generator.choice(len(row_members), n_landmarks, replace=False))
    # A residual of variance r in a stratum adds unseen * r / (drawn * s * (N-s)) to the error of
    # the values; the mean over the stratum's pairs divides by `drawn` once more.
    importance = pairs.unseen / (pairs.drawn**2 * pairs.sizes * (pairs.n_companies - pairs.sizes))

    def best(covariance: Covariance, weight_N: Floats) -> Surrogate:
        """The best over the ridges."""
        row_covariance = _covariance_of_differences(
            covariance, row_members, row_members[landmarks], weight_N
        )
        landmark_values = _shapley_of_columns(covariance, row_members[landmarks], weight_N)
        fits = _ridge_fits(row_covariance, landmarks, landmark_values)
        errors = [float(importance @ fit.left_out(differences)[:-1] ** 2) for fit in fits]
        return replace(fits[int(np.argmin(errors))], error=min(errors))

    covariances = covariances_for(pairs.n_companies)
    equal_N = np.ones(pairs.n_companies)
    chosen = min(
        (best(covariance, equal_N) for covariance in covariances),
        key=lambda surrogate: surrogate.error,
    )
    for _ in range(REWEIGHTINGS):
        weight_N = _weights(chosen.values(differences))
        again = [best(covariance, weight_N) for covariance in covariances[1:]]
        chosen = min([chosen, *again], key=lambda surrogate: surrogate.error)
    return chosen


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
    features = row_covariance @ basis
    variances, rotation = _independent(features.T @ features)
    directions = features @ (rotation / np.sqrt(variances))  # orthonormal columns
    direction_values = (basis @ rotation / np.sqrt(variances)).T @ landmark_values
    squares = directions**2
    # The part of each row outside the span: no direction fits it.
    beyond = np.maximum(1 - squares.sum(axis=1), 0)
    mean_variance = eigenvalues.sum() / len(landmarks)
    fits = []
    for ridge in RIDGES:
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
