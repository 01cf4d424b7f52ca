"""What the large runs say: law parameters and deviations from the law as one Gaussian process.

Progress of the large game = curve(theta) + amplitude * deviation, with theta ~ N(prior) and the
deviation of process.py, which the training-seed noise of the small tables is part of. Conditioning
on the large runs puts every prediction through the measured loss. Everything is linear in the runs,
so that mean and covariance of the Shapley values follow without a covariance of 2**N coalitions.
The amplitude is uncertain: a grid of amplitudes with log-normal prior weight is averaged by
evidence.

Shapes: N companies, C coalitions, A extra large runs, P law parameters, G amplitudes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from fl_sv.law.families import Family
from fl_sv.law.inputs import LawData
from fl_sv.law.process import covariance, value_covariance, variance
from fl_sv.values.exact import shapley

AMPLITUDE_LOG_STD = 0.5
AMPLITUDE_GRID = np.exp(AMPLITUDE_LOG_STD * np.linspace(-2.5, 2.5, 11))
AMPLITUDE_PRIOR = (
    np.exp(-0.5 * np.linspace(-2.5, 2.5, 11) ** 2)
    / np.exp(-0.5 * np.linspace(-2.5, 2.5, 11) ** 2).sum()
)
PROGRESS_STEP = 1e-5
JITTER = 1e-10
BLOCK = 512  # coalitions whose covariance with all others is in memory at once
# Amplitudes this much above the expected one are ordinary: the factor that keeps alarms below one
# game in ten.
CAUTION = 1.2


@dataclass(frozen=True)
class Prior:
    """A law linearised where the runs put it, before the runs have been used.

    mean_C: progress; sensitivity_CP: its derivative by theta times the prior's standard deviation.
    amplitude: standard deviation of a singleton's deviation, in progress.
    """

    theta_P: NDArray[np.float64]
    mean_C: NDArray[np.float64]
    sensitivity_CP: NDArray[np.float64]
    amplitude: float


@dataclass(frozen=True)
class Posterior:
    """progress_C and its variance_C; weight_G of the amplitudes."""

    progress_C: NDArray[np.float64]
    variance_C: NDArray[np.float64]
    weight_G: NDArray[np.float64]

    def amplitude(self, prior: Prior) -> float:
        """Root mean square of the deviations' amplitude, as the runs leave it."""
        return float(np.sqrt(self.weight_G @ (prior.amplitude * AMPLITUDE_GRID) ** 2))


def linearised(
    family: Family, data: LawData, progress_A: NDArray[np.float64], amplitude: float
) -> Prior:
    """The law around its most probable parameters (three Gauss-Newton steps; the curves are nearly
    linear).
    """
    members_AN = data.members_CN[data.extra]
    deviation_AA = amplitude**2 * covariance(members_AN, members_AN)
    theta_P = family.prior_P
    for _ in range(3):
        curve_C, sensitivity_CP = _with_sensitivity(family, theta_P)
        shift_P = (theta_P - family.prior_P) / _positive(family.prior_std_P)
        mean_C = curve_C - sensitivity_CP @ shift_P
        if not len(members_AN) or not len(theta_P):
            break
        sensitivity_AP = sensitivity_CP[data.extra]
        factor = factored(deviation_AA + sensitivity_AP @ sensitivity_AP.T)
        gain_P = sensitivity_AP.T @ cho_solve(factor, progress_A - mean_C[data.extra])
        theta_P = family.prior_P + family.prior_std_P * gain_P
    return Prior(theta_P, mean_C, sensitivity_CP, amplitude)


def condition(prior: Prior, data: LawData, progress_A: NDArray[np.float64]) -> Posterior:
    """Progress of every coalition given the extra large runs."""
    amplitude_G = prior.amplitude * AMPLITUDE_GRID
    own_C = variance(data.members_CN)
    law_C = np.sum(prior.sensitivity_CP**2, axis=1)
    if not len(progress_A):
        spread = float(AMPLITUDE_PRIOR @ amplitude_G**2)
        return Posterior(prior.mean_C, law_C + spread * own_C, AMPLITUDE_PRIOR)
    rows = data.extra
    unit_AC = covariance(data.members_CN[rows], data.members_CN)
    law_AC = prior.sensitivity_CP[rows] @ prior.sensitivity_CP.T
    residual_A = progress_A - prior.mean_C[rows]
    means, variances, scores = [], [], []
    for amplitude in amplitude_G:
        cross_AC = amplitude**2 * unit_AC + law_AC
        factor = factored(cross_AC[:, rows])
        weight_A = cho_solve(factor, residual_A)
        means.append(prior.mean_C + weight_A @ cross_AC)
        variances.append(
            law_C + amplitude**2 * own_C - np.sum(cross_AC * cho_solve(factor, cross_AC), axis=0)
        )
        scores.append(-0.5 * float(residual_A @ weight_A) - float(np.log(np.diag(factor[0])).sum()))
    weight_G = _averaging(np.array(scores))
    progress_C = weight_G @ np.array(means)
    spread_C = weight_G @ (np.array(means) - progress_C) ** 2
    variance_C = np.maximum(weight_G @ np.array(variances), 0.0) + spread_C
    progress_C[rows], variance_C[rows] = progress_A, 0.0
    return Posterior(progress_C, variance_C, weight_G)


def progress_value_covariance(
    prior: Prior, posterior: Posterior, data: LawData, weight_CN: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """(N, N) covariance of the values of the large game's progress: Shapley values of a complete
    table, or the values that weight_CN makes of a sample."""

    def read(table_CK: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, K) values of the games in the columns."""
        return shapley_columns(table_CK) if weight_CN is None else weight_CN.T @ table_CK

    sampled = None if weight_CN is None else _weighted_covariance(data.members_CN, weight_CN)
    unit_NN = value_covariance(data.n_companies) if sampled is None else sampled
    law_NP = read(prior.sensitivity_CP)
    fixed_NN = law_NP @ law_NP.T
    square_G = (prior.amplitude * AMPLITUDE_GRID) ** 2
    if not len(data.extra):
        return fixed_NN + float(posterior.weight_G @ square_G) * unit_NN
    rows = data.extra
    members_AN = data.members_CN[rows]
    unit_NA = read(covariance(data.members_CN, members_AN))
    fixed_NA = law_NP @ prior.sensitivity_CP[rows].T
    unit_AA = covariance(members_AN, members_AN)
    fixed_AA = prior.sensitivity_CP[rows] @ prior.sensitivity_CP[rows].T
    residual_A = posterior.progress_C[rows] - prior.mean_C[rows]
    total_NN = fixed_NN.copy()
    shifts = []
    for weight, square in zip(posterior.weight_G, square_G, strict=True):
        cross_NA = square * unit_NA + fixed_NA
        factor = factored(square * unit_AA + fixed_AA)
        total_NN += weight * (square * unit_NN - cross_NA @ cho_solve(factor, cross_NA.T))
        shifts.append(cross_NA @ cho_solve(factor, residual_A))
    # The amplitudes disagree on the values themselves: the covariance between them.
    shift_GN = np.array(shifts) - posterior.weight_G @ np.array(shifts)
    total_NN += (shift_GN.T * posterior.weight_G) @ shift_GN
    return (total_NN + total_NN.T) / 2


def covariance_of_runs(prior: Prior, data: LawData, amplitude: float) -> NDArray[np.float64]:
    """(A, A) covariance of what the extra runs measure around prior.mean_C."""
    members_AN = data.members_CN[data.extra]
    sensitivity_AP = prior.sensitivity_CP[data.extra]
    total_AA: NDArray[np.float64] = amplitude**2 * covariance(members_AN, members_AN)
    return _jittered(total_AA + sensitivity_AP @ sensitivity_AP.T)


@dataclass(frozen=True)
class LeftOut:
    """Each extra run predicted from all the others: measured minus predicted progress, and its
    standard deviation.
    """

    error_A: NDArray[np.float64]
    std_A: NDArray[np.float64]


def left_out(prior: Prior, data: LawData, progress_A: NDArray[np.float64]) -> LeftOut:
    """Leave-one-large-run-out without refitting (Sundararajan and Keerthi 2001).

    The amplitude stays the ladder's: learned from the runs, it would grow with every run that
    breaks the law and so excuse it."""
    total_AA = covariance_of_runs(prior, data, CAUTION * prior.amplitude)
    inverse_AA = cho_solve(factored(total_AA), np.eye(len(progress_A)))
    precision_A = np.diag(inverse_AA)
    return LeftOut(
        inverse_AA @ (progress_A - prior.mean_C[data.extra]) / precision_A, 1 / np.sqrt(precision_A)
    )


def _with_sensitivity(
    family: Family, theta_P: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """curve_C at theta and its derivative by each parameter in units of the prior's standard
    deviation.
    """
    curve_C = family.curve(theta_P)
    columns = []
    for p in range(len(theta_P)):
        step_P = np.zeros(len(theta_P))
        step_P[p] = PROGRESS_STEP
        slope_C = (family.curve(theta_P + step_P) - family.curve(theta_P - step_P)) / (
            2 * PROGRESS_STEP
        )
        columns.append(slope_C * family.prior_std_P[p])
    return curve_C, np.stack(columns, axis=1) if columns else np.zeros((len(curve_C), 0))


def _averaging(score_G: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior weights of the amplitudes from the log likelihood of each."""
    log_G = score_G + np.log(AMPLITUDE_PRIOR)
    weight_G = np.exp(log_G - log_G.max())
    averaged_G: NDArray[np.float64] = weight_G / weight_G.sum()
    return averaged_G


def shapley_columns(table_CK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shapley values (N, K) of the games in the columns."""
    n_companies = len(table_CK).bit_length() - 1
    columns = [shapley(np.ascontiguousarray(table_CK[:, k])) for k in range(table_CK.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros((n_companies, 0))


def _weighted_covariance(
    members_CN: NDArray[np.bool_], weight_CN: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, N) covariance of weight_CN.T @ deviation_C at unit amplitude, never C x C numbers in
    memory.
    """
    total_NN = np.zeros((weight_CN.shape[1],) * 2)
    for start in range(0, len(members_CN), BLOCK):
        rows = slice(start, start + BLOCK)
        total_NN += weight_CN[rows].T @ (covariance(members_CN[rows], members_CN) @ weight_CN)
    return total_NN


def factored(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """The Cholesky factor as cho_solve takes it."""
    factor, lower = cho_factor(_jittered(matrix), lower=True)
    return factor, lower


def _jittered(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive definite in floating point too; what is added is far below any loss that is written
    down.
    """
    if not len(matrix):
        return matrix
    return matrix + (JITTER * float(np.trace(matrix)) / len(matrix) + 1e-300) * np.eye(len(matrix))


def _positive(std_P: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(std_P > 0, std_P, 1.0)
