"""A smooth game fitted to the differences of the pairs, and its Shapley values in closed form.

The surrogate is the posterior mean of a Gaussian process with one of the covariances of
`fl_sv.values.covariances`. The rest follows from the covariance alone:

- the differences v(S) - v(complement) are again a Gaussian process, so one row a pair is fitted;
- Shapley values are linear: those of the surrogate are sums over those of the covariance's columns;
- the error of leaving one pair out costs nothing beside the fit, and chooses covariance, weights and ridge.

Companies count alike at first, and then in proportion to the values found: a federation has large
and small ones.

Shapes: N companies, P pairs, R = P + 1 rows (the last is the pair grand and empty), L landmarks:
rows whose covariances span the surrogate (Nystroem), D of their independent directions."""

from dataclasses import dataclass, replace

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
    """The fit as linear maps of the differences, so that it reads any other game on the same pairs
    alike.

    direction_RD: orthonormal. left_D: part of the game along a direction that the ridge leaves.
    value_DN: Shapley values of the surrogate of a game of length 1 along a direction. alone_R: part
    of a row that no other row explains. error: the variance that the left-out residuals mean for a
    value, up to a factor."""

    direction_RD: Floats
    left_D: Floats
    value_DN: Floats
    alone_R: Floats
    error: float

    def values(self, difference_R: Floats) -> Floats:
        """value_N of the surrogate fitted to `difference_R`."""
        value_N: Floats = (self.direction_RD.T @ difference_R) @ self.value_DN
        return value_N

    def left_out(self, difference_R: Floats) -> Floats:
        """What each row would differ from the surrogate, had it not been fitted itself."""
        along_D = self.direction_RD.T @ difference_R
        # The part that is left, not 1 minus the part that is fitted: small ridges would leave
        # rounding alone.
        residual_R = (
            difference_R - self.direction_RD @ along_D + self.direction_RD @ (self.left_D * along_D)
        )
        left_out_R: Floats = residual_R / np.maximum(self.alone_R, INDEPENDENT)
        return left_out_R


def fit_surrogate(pairs: Pairs, difference_R: Floats, generator: np.random.Generator) -> Surrogate:
    """The surrogate with the smallest error on left-out pairs, over all covariances, weights of
    companies and RIDGES.

    difference_R: v(S) - v(complement) of each pair, then v(grand) - v(empty).
    """
    member_RN = np.vstack([pairs.member_PN, np.ones((1, pairs.n_companies), dtype=bool)])
    n_landmarks = min(len(member_RN), MOST_LANDMARKS, MOST_ENTRIES // len(member_RN))
    landmark_L = np.sort(generator.choice(len(member_RN), n_landmarks, replace=False))
    # A residual of variance r in a stratum adds (1 - seen part) r / (drawn * s * (N-s)) to the
    # error of the values.
    importance_P = pairs.unseen_P / (
        pairs.drawn_P**2 * pairs.size_P * (pairs.n_companies - pairs.size_P)
    )

    def best(covariance: Covariance, weight_N: Floats) -> Surrogate:
        """Over the ridges."""
        covariance_RL = _covariance_of_differences(
            covariance, member_RN, member_RN[landmark_L], weight_N
        )
        value_LN = _shapley_of_columns(covariance, member_RN[landmark_L], weight_N)
        fits = _ridge_fits(covariance_RL, landmark_L, value_LN)
        errors = [float(importance_P @ fit.left_out(difference_R)[:-1] ** 2) for fit in fits]
        return replace(fits[int(np.argmin(errors))], error=min(errors))

    covariances = covariances_for(pairs.n_companies)
    equal_N = np.ones(pairs.n_companies)
    chosen = min(
        (best(covariance, equal_N) for covariance in covariances),
        key=lambda surrogate: surrogate.error,
    )
    for _ in range(REWEIGHTINGS):
        weight_N = _weights(chosen.values(difference_R))
        again = [best(covariance, weight_N) for covariance in covariances[1:]]
        chosen = min([chosen, *again], key=lambda surrogate: surrogate.error)
    return chosen


def _weights(value_N: Floats) -> Floats:
    """weight_N in proportion to the values, 1 on average."""
    weight_N = np.maximum(value_N / max(np.abs(value_N).mean(), np.finfo(float).tiny), LEAST_WEIGHT)
    normalised_N: Floats = weight_N / weight_N.mean()
    return normalised_N


def _ridge_fits(
    covariance_RL: Floats, landmark_L: NDArray[np.int64], value_LN: Floats
) -> list[Surrogate]:
    """A surrogate for each ridge, not yet judged. value_LN: Shapley values of the covariance's
    columns.
    """
    eigenvalue_D, basis_LD = _independent(covariance_RL[landmark_L])
    basis_LD /= np.sqrt(eigenvalue_D)
    feature_RD = covariance_RL @ basis_LD
    variance_D, rotation_DD = _independent(feature_RD.T @ feature_RD)
    direction_RD = feature_RD @ (rotation_DD / np.sqrt(variance_D))  # orthonormal columns
    value_DN = (basis_LD @ rotation_DD / np.sqrt(variance_D)).T @ value_LN
    square_RD = direction_RD**2
    beyond_R = np.maximum(1 - square_RD.sum(axis=1), 0)
    mean_variance = eigenvalue_D.sum() / len(landmark_L)
    fits = []
    for ridge in RIDGES:
        left_D = ridge * mean_variance / (variance_D + ridge * mean_variance)
        fits.append(
            Surrogate(
                direction_RD=direction_RD,
                left_D=left_D,
                value_DN=(1 - left_D)[:, None] * value_DN,
                alone_R=beyond_R + square_RD @ left_D,
                error=np.inf,
            )
        )
    return fits


def _independent(symmetric: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors of a positive semidefinite matrix, without those that are
    rounding.
    """
    eigenvalue, eigenvector = np.linalg.eigh(symmetric)
    keep = eigenvalue > INDEPENDENT * eigenvalue[-1]
    return eigenvalue[keep], eigenvector[:, keep]


def _covariance_of_differences(
    covariance: Covariance,
    member_RN: NDArray[np.bool_],
    member_LN: NDArray[np.bool_],
    weight_N: Floats,
) -> Floats:
    """covariance_RL of v(S) - v(complement of S) with v(T) - v(complement of T)."""
    covariance_RL = covariance.between(member_RN, member_LN, weight_N)
    covariance_RL += covariance.between(~member_RN, ~member_LN, weight_N)
    covariance_RL -= covariance.between(~member_RN, member_LN, weight_N)
    covariance_RL -= covariance.between(member_RN, ~member_LN, weight_N)
    return covariance_RL


def _shapley_of_columns(
    covariance: Covariance, member_LN: NDArray[np.bool_], weight_N: Floats
) -> Floats:
    """value_LN: Shapley values of the games S -> k(S, T) - k(S, complement of T), one for each
    landmark T.
    """
    return covariance.shapley(member_LN, weight_N) - covariance.shapley(~member_LN, weight_N)
