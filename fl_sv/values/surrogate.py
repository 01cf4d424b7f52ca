"""A smooth game fitted to the differences of the pairs, and its Shapley values in closed form.

The surrogate is the posterior mean of a Gaussian process with one of the covariances of `fl_sv.values.covariances`.
The rest follows from the covariance alone:

- the differences v(S) - v(complement) are again a Gaussian process, so one row a pair is fitted;
- Shapley values are linear: those of the surrogate are sums over those of the covariance's columns;
- the error of leaving one pair out costs nothing beside the fit, and chooses covariance, weights and ridge.

Companies count alike at first, and then in proportion to the values found: a federation has large and small ones.

Shapes: N companies, P pairs, R = P + 1 rows (the last is the pair grand and empty), L landmarks: rows whose
covariances span the surrogate (Nystroem), D of their independent directions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.values.covariances import Covariance, covariances_for
from fl_sv.values.pairs import Pairs

Floats = NDArray[np.float64]

RIDGES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # relative to the mean variance of a row
# Up to so many pairs the fit is exact. It takes 0.1 s a covariance then (one core, 2026-11).
MOST_LANDMARKS = 600
MOST_ENTRIES = 1 << 23  # of one (R, L) matrix: 64 MiB
INDEPENDENT = 1e-12  # directions with less of the largest eigenvalue are rounding
REWEIGHTINGS = 2
LEAST_WEIGHT = 0.05  # of a company whose value is small or negative, where the mean is 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """value_N: its Shapley values. residual_P: what it leaves of the differences. left_out_P: what it would leave had
    the pair itself not been fitted. error: the variance that left_out_P means for a value, up to a factor."""

    value_N: Floats
    residual_P: Floats
    left_out_P: Floats
    error: float


def fit_surrogate(pairs: Pairs, difference_P: Floats, total: float, generator: np.random.Generator) -> Surrogate:
    """The surrogate with the smallest error on left-out pairs, over all covariances, weights of companies and RIDGES.

    total: v(grand) - v(empty), fitted as one more pair.
    """
    member_RN = np.vstack([pairs.member_PN, np.ones((1, pairs.n_companies), dtype=bool)])
    difference_R = np.append(difference_P, total)
    n_landmarks = min(len(member_RN), MOST_LANDMARKS, MOST_ENTRIES // len(member_RN))
    landmark_L = np.sort(generator.choice(len(member_RN), n_landmarks, replace=False))
    # A residual of variance r in a stratum adds (1 - seen part) r / (drawn * s * (N-s)) to the error of the values.
    importance_P = pairs.unseen_P / (pairs.drawn_P**2 * pairs.size_P * (pairs.n_companies - pairs.size_P))

    def best(covariance: Covariance, weight_N: Floats) -> Surrogate:
        """Over the ridges."""
        covariance_RL = _covariance_of_differences(covariance, member_RN, member_RN[landmark_L], weight_N)
        fits = _ridge_fits(covariance_RL, landmark_L, difference_R)
        coefficient_L, residual_R, left_out_R = min(fits, key=lambda fit: float(importance_P @ fit[2][:-1] ** 2))
        return Surrogate(
            value_N=coefficient_L @ _shapley_of_columns(covariance, member_RN[landmark_L], weight_N),
            residual_P=residual_R[:-1],
            left_out_P=left_out_R[:-1],
            error=float(importance_P @ left_out_R[:-1] ** 2),
        )

    covariances = covariances_for(pairs.n_companies)
    equal_N = np.ones(pairs.n_companies)
    chosen = min((best(covariance, equal_N) for covariance in covariances), key=lambda surrogate: surrogate.error)
    for _ in range(REWEIGHTINGS):
        weight_N = _weights(chosen.value_N)
        again = [best(covariance, weight_N) for covariance in covariances[1:]]
        chosen = min([chosen, *again], key=lambda surrogate: surrogate.error)
    return chosen


def _weights(value_N: Floats) -> Floats:
    """weight_N in proportion to the values, 1 on average."""
    weight_N = np.maximum(value_N / max(np.abs(value_N).mean(), np.finfo(float).tiny), LEAST_WEIGHT)
    normalised_N: Floats = weight_N / weight_N.mean()
    return normalised_N


def _ridge_fits(
    covariance_RL: Floats, landmark_L: NDArray[np.int64], difference_R: Floats
) -> list[tuple[Floats, Floats, Floats]]:
    """(coefficient_L, residual_R, left_out_R) for each ridge."""
    eigenvalue_D, basis_LD = _independent(covariance_RL[landmark_L])
    basis_LD /= np.sqrt(eigenvalue_D)
    feature_RD = covariance_RL @ basis_LD
    variance_D, rotation_DD = _independent(feature_RD.T @ feature_RD)
    basis_LD = basis_LD @ rotation_DD
    direction_RD = feature_RD @ (rotation_DD / np.sqrt(variance_D))  # orthonormal columns
    along_D = direction_RD.T @ difference_R
    beyond_R = difference_R - direction_RD @ along_D
    beyond_leverage_R = np.maximum(1 - (direction_RD**2).sum(axis=1), 0)
    mean_variance = eigenvalue_D.sum() / len(landmark_L)
    fits = []
    for ridge in RIDGES:
        # As the part that is left, not 1 minus the part that is fitted: small ridges would leave rounding alone.
        left_D = ridge * mean_variance / (variance_D + ridge * mean_variance)
        residual_R = beyond_R + direction_RD @ (left_D * along_D)
        not_leverage_R = beyond_leverage_R + direction_RD**2 @ left_D
        coefficient_L = basis_LD @ ((1 - left_D) * along_D / np.sqrt(variance_D))
        fits.append((coefficient_L, residual_R, residual_R / np.maximum(not_leverage_R, INDEPENDENT)))
    return fits


def _independent(symmetric: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors of a positive semidefinite matrix, without those that are rounding."""
    eigenvalue, eigenvector = np.linalg.eigh(symmetric)
    keep = eigenvalue > INDEPENDENT * eigenvalue[-1]
    return eigenvalue[keep], eigenvector[:, keep]


def _covariance_of_differences(
    covariance: Covariance, member_RN: NDArray[np.bool_], member_LN: NDArray[np.bool_], weight_N: Floats
) -> Floats:
    """covariance_RL of v(S) - v(complement of S) with v(T) - v(complement of T)."""
    covariance_RL = covariance.between(member_RN, member_LN, weight_N)
    covariance_RL += covariance.between(~member_RN, ~member_LN, weight_N)
    covariance_RL -= covariance.between(~member_RN, member_LN, weight_N)
    covariance_RL -= covariance.between(member_RN, ~member_LN, weight_N)
    return covariance_RL


def _shapley_of_columns(covariance: Covariance, member_LN: NDArray[np.bool_], weight_N: Floats) -> Floats:
    """value_LN: Shapley values of the games S -> k(S, T) - k(S, complement of T), one for each landmark T."""
    return covariance.shapley(member_LN, weight_N) - covariance.shapley(~member_LN, weight_N)
