"""A smooth game fitted to the differences of the pairs, and its Shapley values in closed form.

The surrogate is the posterior mean of a Gaussian process whose covariance of two coalitions S and T depends only on
s = |S|, t = |T| and m = |S and T|. The rest follows from the covariance alone:

- the differences v(S) - v(complement) are again a Gaussian process, so one row a pair is fitted;
- members of T all have the same Shapley value in the game S -> k(S, T), and so do non-members. One sum over the
  hypergeometric distribution of m gives the one, efficiency the other;
- the error of leaving one pair out costs nothing beside the fit, and chooses covariance and ridge.

Federated utilities are concave in the size of a coalition: what a company adds falls like a power of the size. The
`concave` covariances say so. `linear` is exact on 2-additive games, as soon as the pairs determine N slopes, for it is
the paired regression of KernelSHAP; `cubic` is exact on 4-additive ones, given enough pairs.

Shapes: N companies, P pairs, R = P + 1 rows (the last is the pair grand and empty), L landmarks: rows whose
covariances span the surrogate (Nystroem), D of their independent directions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from fl_sv.values.pairs import Pairs

Floats = NDArray[np.float64]
Covariance = Callable[[int, Floats, Floats, Floats], Floats]
"""(N, s, t, m) -> covariance; the arrays broadcast."""

RIDGES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # relative to the mean variance of a row
# Up to so many pairs the fit is exact. It takes 0.1 s a covariance then (one core, 2026-11).
MOST_LANDMARKS = 600
MOST_ENTRIES = 1 << 23  # of one (R, L) matrix: 64 MiB
INDEPENDENT = 1e-12  # directions with less of the largest eigenvalue are rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """value_N: its Shapley values. residual_P: what it leaves of the differences. left_out_P: what it would leave had
    the pair itself not been fitted."""

    value_N: Floats
    residual_P: Floats
    left_out_P: Floats


def linear(n: int, s: Floats, t: Floats, m: Floats) -> Floats:
    """Dot product of the two coalitions written as -1 and +1, divided by N."""
    return 1 - 2 * (s + t - 2 * m) / n


def cubic(n: int, s: Floats, t: Floats, m: Floats) -> Floats:
    """`linear` and all products of three companies; (u^3 - (3n-2) u) / 6 is their sum if u is the dot product."""
    dot = linear(n, s, t, m)
    return dot + 0.3 * (dot**3 - (3 * n - 2) / n**2 * dot)


def concave(power: float) -> Covariance:
    """Slopes that fall like size**-(power + 1/2), change slowly with the size, and mildly with each other."""

    def covariance(n: int, s: Floats, t: Floats, m: Floats) -> Floats:
        product = np.maximum(s * t, 1)
        alike_sizes = np.exp(-(np.log((1 + s) / (1 + t)) ** 2) / 8)
        return alike_sizes * np.expm1(0.1 * m / np.sqrt(product)) * (product / n**2) ** -power

    return covariance


COVARIANCES: tuple[Covariance, ...] = (linear, cubic, concave(0.0), concave(0.5), concave(1.0))


def fit_surrogate(pairs: Pairs, difference_P: Floats, total: float, generator: np.random.Generator) -> Surrogate:
    """The surrogate with the smallest error on left-out pairs, over all COVARIANCES and RIDGES.

    total: v(grand) - v(empty), fitted as one more pair.
    """
    member_RN = np.vstack([pairs.member_PN, np.ones((1, pairs.n_companies), dtype=bool)])
    difference_R = np.append(difference_P, total)
    n_landmarks = min(len(member_RN), MOST_LANDMARKS, MOST_ENTRIES // len(member_RN))
    landmark_L = np.sort(generator.choice(len(member_RN), n_landmarks, replace=False))
    # A residual of variance r in a stratum adds (1 - seen part) r / (drawn * s * (N-s)) to the error of the values.
    weight_P = pairs.unseen_P / (pairs.drawn_P**2 * pairs.size_P * (pairs.n_companies - pairs.size_P))
    fits = [
        (float(weight_P @ left_out_R[:-1] ** 2), index, coefficient_L, residual_R, left_out_R)
        for index, covariance in enumerate(COVARIANCES)
        for coefficient_L, residual_R, left_out_R in _ridge_fits(covariance, member_RN, landmark_L, difference_R)
    ]
    _, index, coefficient_L, residual_R, left_out_R = min(fits, key=lambda fit: fit[0])
    value_N = coefficient_L @ _shapley_of_columns(COVARIANCES[index], member_RN[landmark_L])
    return Surrogate(value_N=value_N, residual_P=residual_R[:-1], left_out_P=left_out_R[:-1])


def _ridge_fits(
    covariance: Covariance, member_RN: NDArray[np.bool_], landmark_L: NDArray[np.int64], difference_R: Floats
) -> list[tuple[Floats, Floats, Floats]]:
    """(coefficient_L, residual_R, left_out_R) for each ridge."""
    covariance_RL = _covariance_of_differences(covariance, member_RN, member_RN[landmark_L])
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
    covariance: Covariance, member_RN: NDArray[np.bool_], member_LN: NDArray[np.bool_]
) -> Floats:
    """covariance_RL of v(S) - v(complement of S) with v(T) - v(complement of T)."""
    n = member_RN.shape[1]
    s, t = member_RN.sum(axis=1, dtype=float)[:, None], member_LN.sum(axis=1, dtype=float)[None, :]
    m = member_RN.astype(float) @ member_LN.T.astype(float)
    same: Floats = covariance(n, s, t, m) + covariance(n, n - s, n - t, n - s - t + m)
    crossed: Floats = covariance(n, n - s, t, t - m) + covariance(n, s, n - t, s - m)
    return same - crossed


def _shapley_of_columns(covariance: Covariance, member_LN: NDArray[np.bool_]) -> Floats:
    """value_LN: Shapley values of the games S -> k(S, T) - k(S, complement of T), one for each landmark T."""
    n = member_LN.shape[1]
    size_L = member_LN.sum(axis=1)
    sizes = np.unique([size_L, n - size_L])
    inside, outside = np.zeros(n + 1), np.zeros(n + 1)
    for t in sizes.tolist():
        inside[t], outside[t] = _shapley_of_column(covariance, n, t)
    within_L1 = (inside[size_L] - outside[n - size_L])[:, None]
    without_L1 = (outside[size_L] - inside[n - size_L])[:, None]
    value_LN: Floats = np.where(member_LN, within_L1, without_L1)
    return value_LN


def _shapley_of_column(covariance: Covariance, n: int, t: int) -> tuple[float, float]:
    """Shapley value of a member and of a non-member of T, |T| = t, in the game S -> k(S, T)."""
    total = float(covariance(n, *np.array([n, t, t])) - covariance(n, *np.array([0, t, 0])))
    if t == 0:
        return 0.0, total / n
    # A member of T joins s others, s = 0 .. n-1 equally likely, m of whom are of the t-1 other members.
    s, m = np.arange(n, dtype=float)[:, None], np.arange(t, dtype=float)[None, :]
    log_chance = _log_binomial(t - 1, m) + _log_binomial(n - t, s - m) - _log_binomial(n - 1, s)
    marginal = covariance(n, s + 1, np.array(float(t)), m + 1) - covariance(n, s, np.array(float(t)), m)
    inside = float((np.exp(log_chance) * marginal).sum()) / n
    return inside, (total - t * inside) / (n - t) if t < n else 0.0


def _log_binomial(n: int, k: Floats) -> Floats:
    """log C(n, k), minus infinity where k is outside 0 .. n (there gammaln is infinite)."""
    logarithm: Floats = gammaln(n + 1.0) - gammaln(k + 1) - gammaln(n - k + 1)
    return logarithm
