"""The law given the large runs: its parameters and the deviations from it as a Gaussian process.

    normalised utility of the large model = curve(theta) + amplitude * deviation

theta has a normal prior, and the deviation is that of process.py. It includes the seed noise of the
small models. After conditioning, the prediction at a large run equals the measured loss. Everything
is linear in the runs, so mean and covariance of the Shapley values follow without a covariance of
2**N coalitions. The amplitude is uncertain: the results of several amplitudes, on a grid with
log-normal prior weights, are averaged by their evidence.

Shapes: N companies, C coalitions. "runs" are the large runs besides the empty and the grand
coalition, "parameters" those of the law, "amplitudes" the points of the grid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from fl_sv.law.families import Family
from fl_sv.law.inputs import LawData
from fl_sv.law.process import covariance, value_covariance, variance
from fl_sv.values.exact import shapley

# The grid covers two and a half standard deviations of the log amplitude to both sides.
AMPLITUDE_LOG_STD = 0.5
AMPLITUDE_GRID = np.exp(AMPLITUDE_LOG_STD * np.linspace(-2.5, 2.5, 11))
AMPLITUDE_PRIOR = (
    np.exp(-0.5 * np.linspace(-2.5, 2.5, 11) ** 2)
    / np.exp(-0.5 * np.linspace(-2.5, 2.5, 11) ** 2).sum()
)
DERIVATIVE_STEP = 1e-5  # of a parameter, for its central difference
JITTER = 1e-10  # of the mean variance, added to the diagonal before a Cholesky factorisation
BLOCK = 512  # coalitions whose covariance with all others is in memory at once
# Deviations may be this much larger than expected before a check counts them. With this factor
# fewer than one sound game in ten has an alarm.
CAUTION = 1.2


@dataclass(frozen=True)
class Prior:
    """A linearised law, before it is conditioned on the runs.

    theta: (parameters,) the parameters at which it is linearised, chosen by the runs.
    mean_C: normalised utilities at the prior's parameters, by the linearised law.
    sensitivity: (C, parameters) their derivative by each parameter, times the prior's standard
        deviation.
    amplitude: standard deviation of a singleton's deviation, in normalised utility.
    """

    theta: NDArray[np.float64]
    mean_C: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    amplitude: float


@dataclass(frozen=True)
class Posterior:
    """Normalised utilities with their variance, and how probable each amplitude is."""

    normalized_C: NDArray[np.float64]
    variance_C: NDArray[np.float64]
    amplitude_weights: NDArray[np.float64]  # (amplitudes,), sum 1

    def amplitude(self, prior: Prior) -> float:
        """Root mean square of the deviations' amplitude, given the runs."""
        return float(np.sqrt(self.amplitude_weights @ (prior.amplitude * AMPLITUDE_GRID) ** 2))


def linearised(
    family: Family, data: LawData, normalized_runs: NDArray[np.float64], amplitude: float
) -> Prior:
    """The law linearised at its most probable parameters.

    Three Gauss-Newton steps are enough: the curves are nearly linear.
    """
    run_members = data.members_CN[data.large_run_rows]
    deviation_covariance = amplitude**2 * covariance(run_members, run_members)
    theta = family.prior
    for _ in range(3):
        # mean_C is the linearised curve at the prior's parameters: the runs then enter only once,
        # in the conditioning, though they have chosen the point of linearisation.
        curve_C, sensitivity = _with_sensitivity(family, theta)
        shift = (theta - family.prior) / _positive(family.prior_std)
        mean_C = curve_C - sensitivity @ shift
        if not len(run_members) or not len(theta):
            break
        run_sensitivity = sensitivity[data.large_run_rows]
        # The gain is theta's shift in units of the prior's standard deviation (Kalman's formula).
        factor = factored(deviation_covariance + run_sensitivity @ run_sensitivity.T)
        gain = run_sensitivity.T @ cho_solve(factor, normalized_runs - mean_C[data.large_run_rows])
        theta = family.prior + family.prior_std * gain
    return Prior(theta, mean_C, sensitivity, amplitude)


def condition(prior: Prior, data: LawData, normalized_runs: NDArray[np.float64]) -> Posterior:
    """Normalised utility of every coalition given the large runs, with its variance.

    normalized_runs: (runs,) measured normalised utilities.
    """
    amplitudes = prior.amplitude * AMPLITUDE_GRID
    own_C = variance(data.members_CN)
    law_C = np.sum(prior.sensitivity**2, axis=1)
    if not len(normalized_runs):
        spread = float(AMPLITUDE_PRIOR @ amplitudes**2)
        return Posterior(prior.mean_C, law_C + spread * own_C, AMPLITUDE_PRIOR)
    rows = data.large_run_rows
    unit_cross = covariance(data.members_CN[rows], data.members_CN)
    law_cross = prior.sensitivity[rows] @ prior.sensitivity.T
    residuals = normalized_runs - prior.mean_C[rows]
    # For each amplitude the usual formulas of a Gaussian process, without observation noise,
    # because the prediction must equal the measured loss. scores are log likelihoods up to a
    # constant.
    means, variances, scores = [], [], []
    for amplitude in amplitudes:
        cross = amplitude**2 * unit_cross + law_cross
        factor = factored(cross[:, rows])
        run_weights = cho_solve(factor, residuals)
        means.append(prior.mean_C + run_weights @ cross)
        variances.append(
            law_C + amplitude**2 * own_C - np.sum(cross * cho_solve(factor, cross), axis=0)
        )
        scores.append(
            -0.5 * float(residuals @ run_weights) - float(np.log(np.diag(factor[0])).sum())
        )
    amplitude_weights = _averaging(np.array(scores))
    # A mixture's variance: the mean of the variances, and the variance of the means.
    normalized_C = amplitude_weights @ np.array(means)
    spread_C = amplitude_weights @ (np.array(means) - normalized_C) ** 2
    variance_C = np.maximum(amplitude_weights @ np.array(variances), 0.0) + spread_C
    # Without the rounding errors of the formulas above: a large run is exact.
    normalized_C[rows], variance_C[rows] = normalized_runs, 0.0
    return Posterior(normalized_C, variance_C, amplitude_weights)


def normalized_value_covariance(
    prior: Prior, posterior: Posterior, data: LawData, weight_CN: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """(N, N) covariance of the values of the large game, in squared normalised utility.

    They are the Shapley values of a complete table. With weight_CN they are the values weight_CN.T
    @ utility_C of a sample.
    """
    # The values are a linear map of the game. So each step of `condition` is repeated on the values
    # themselves: N x N matrices instead of C x C ones.

    def values_of(games: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, games) values of the games in the columns."""
        return shapley_columns(games) if weight_CN is None else weight_CN.T @ games

    sampled = None if weight_CN is None else _weighted_covariance(data.members_CN, weight_CN)
    unit_NN = value_covariance(data.n_companies) if sampled is None else sampled
    law_values = values_of(prior.sensitivity)
    fixed_NN = law_values @ law_values.T
    squares = (prior.amplitude * AMPLITUDE_GRID) ** 2
    if not len(data.large_run_rows):
        return fixed_NN + float(posterior.amplitude_weights @ squares) * unit_NN
    rows = data.large_run_rows
    run_members = data.members_CN[rows]
    unit_cross = values_of(covariance(data.members_CN, run_members))
    fixed_cross = law_values @ prior.sensitivity[rows].T
    unit_runs = covariance(run_members, run_members)
    fixed_runs = prior.sensitivity[rows] @ prior.sensitivity[rows].T
    residuals = posterior.normalized_C[rows] - prior.mean_C[rows]
    total_NN = fixed_NN.copy()
    shifts = []
    for weight, square in zip(posterior.amplitude_weights, squares, strict=True):
        cross = square * unit_cross + fixed_cross
        factor = factored(square * unit_runs + fixed_runs)
        total_NN += weight * (square * unit_NN - cross @ cho_solve(factor, cross.T))
        shifts.append(cross @ cho_solve(factor, residuals))
    # Each amplitude has its own mean of the values. Their covariance belongs to the mixture's.
    value_shifts = np.array(shifts) - posterior.amplitude_weights @ np.array(shifts)
    total_NN += (value_shifts.T * posterior.amplitude_weights) @ value_shifts
    return (total_NN + total_NN.T) / 2  # rounding leaves it not quite symmetric


def covariance_of_runs(prior: Prior, data: LawData, amplitude: float) -> NDArray[np.float64]:
    """(runs, runs) covariance of the measured normalised utilities around the prior's mean."""
    run_members = data.members_CN[data.large_run_rows]
    run_sensitivity = prior.sensitivity[data.large_run_rows]
    total: NDArray[np.float64] = amplitude**2 * covariance(run_members, run_members)
    return _jittered(total + run_sensitivity @ run_sensitivity.T)


@dataclass(frozen=True)
class LeftOut:
    """How well each large run is predicted from all the others."""

    errors: NDArray[np.float64]  # (runs,) measured minus predicted normalised utility
    stds: NDArray[np.float64]  # (runs,) standard deviations that the law expects of them


def left_out(prior: Prior, data: LawData, normalized_runs: NDArray[np.float64]) -> LeftOut:
    """Leave-one-large-run-out without refitting (Sundararajan and Keerthi 2001).

    The amplitude is the one expected from the ladder. If it were fitted to the runs, it would grow
    with every run that breaks the law, and no run would be an outlier.
    """
    total = covariance_of_runs(prior, data, CAUTION * prior.amplitude)
    inverse = cho_solve(factored(total), np.eye(len(normalized_runs)))
    precisions = np.diag(inverse)
    return LeftOut(
        inverse @ (normalized_runs - prior.mean_C[data.large_run_rows]) / precisions,
        1 / np.sqrt(precisions),
    )


def _with_sensitivity(
    family: Family, theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve (C,) at theta, and its derivative by each parameter (C, parameters).

    The derivative is in units of the prior's standard deviation.
    """
    curve_C = family.curve(theta)
    columns = []
    for p in range(len(theta)):
        step = np.zeros(len(theta))
        step[p] = DERIVATIVE_STEP
        slope_C = (family.curve(theta + step) - family.curve(theta - step)) / (2 * DERIVATIVE_STEP)
        columns.append(slope_C * family.prior_std[p])
    return curve_C, np.stack(columns, axis=1) if columns else np.zeros((len(curve_C), 0))


def _averaging(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior weights of the amplitudes. scores: (amplitudes,) log likelihood of each."""
    log_weights = scores + np.log(AMPLITUDE_PRIOR)
    amplitude_weights = np.exp(log_weights - log_weights.max())
    averaged: NDArray[np.float64] = amplitude_weights / amplitude_weights.sum()
    return averaged


def shapley_columns(games: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, games) Shapley values of the games in the columns. games: (2**N, games)."""
    n_companies = len(games).bit_length() - 1
    columns = [shapley(np.ascontiguousarray(games[:, k])) for k in range(games.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros((n_companies, 0))


def _weighted_covariance(
    members_CN: NDArray[np.bool_], weight_CN: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, N) covariance of weight_CN.T @ deviation_C, in units of a singleton's variance.

    It is summed in blocks: C x C numbers are never in memory.
    """
    total_NN = np.zeros((weight_CN.shape[1],) * 2)
    for start in range(0, len(members_CN), BLOCK):
        rows = slice(start, start + BLOCK)
        total_NN += weight_CN[rows].T @ (covariance(members_CN[rows], members_CN) @ weight_CN)
    return total_NN


def factored(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """The Cholesky factor of a covariance, as cho_solve takes it."""
    factor, lower = cho_factor(_jittered(matrix), lower=True)
    return factor, lower


def _jittered(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix, positive definite in floating point too.

    What is added is far below the last digit of any loss.
    """
    if not len(matrix):
        return matrix
    return matrix + (JITTER * float(np.trace(matrix)) / len(matrix) + 1e-300) * np.eye(len(matrix))


def _positive(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations to divide by: 1 instead of 0, where the parameter cannot change."""
    return np.where(std > 0, std, 1.0)
