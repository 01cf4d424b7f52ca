"""The prior: the law as a Gaussian process, before it is conditioned on the large runs.

    normalised utility of a large run = curve(theta) + common + singleton + seed noise

theta has a normal prior; the curve is linearised, so it is one more normal part. The common and the
singletons' deviations are those of process.py, the seed noise that of noise.py.

Shapes: N companies, C coalitions. "runs" are the large runs besides the empty and the grand
coalition, "parameters" those of the law.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from fl_sv.law.families import Family
from fl_sv.law.inputs import LawData
from fl_sv.law.noise import Noise
from fl_sv.law.process import common, covariance, singleton

Floats = NDArray[np.float64]

# The parts of a deviation.
PARTS = (common, singleton)
# Median standard deviation of a singleton's own deviation, in normalised utility. On the games of
# benchmarks/data/games it is 0.06 to 1.6; the grid of posterior.py reaches as far.
SINGLETON_STD = 0.25
DERIVATIVE_STEP = 1e-5  # of a parameter, for its central difference
JITTER = 1e-10  # of the mean variance, added to the diagonal before a Cholesky factorisation


@dataclass(frozen=True)
class Prior:
    """A linearised law, before it is conditioned on the runs.

    theta: (parameters,) the parameters at which it is linearised, chosen by the runs.
    mean_C: normalised utilities at the prior's parameters, by the linearised law.
    sensitivity: (C, columns) the directions in which the law is uncertain, each times its standard
        deviation: the derivatives by its parameters, or the differences between blended laws.
    amplitude: standard deviation of a singleton's common deviation, in normalised utility.
    noise: of large runs, in normalised utility.
    """

    theta: Floats
    mean_C: Floats
    sensitivity: Floats
    amplitude: float
    noise: Noise


def linearised(
    family: Family,
    between: Floats,
    data: LawData,
    normalized_runs: Floats,
    amplitude: float,
    noise: Noise,
) -> Prior:
    """The law linearised at its most probable parameters.

    between: (C, laws) further directions in which it is uncertain.

    Three Gauss-Newton steps are enough: the curves are nearly linear.
    """
    theta = np.array(family.prior, dtype=np.float64)
    rows = data.large_run_rows
    scale = np.array([amplitude**2, SINGLETON_STD**2])
    deviations = sum(
        square * covariance(part, data.members_CN[rows], data.members_CN[rows])
        for part, square in zip(PARTS, scale, strict=True)
    )
    for _ in range(3):
        # mean_C is the linearised curve at the prior's parameters: the runs then enter only once,
        # in the conditioning, though they have chosen the point of linearisation.
        curve_C, sensitivity = _with_sensitivity(family, theta)
        shift = (theta - family.prior) / _positive(family.prior_std)
        mean_C = curve_C - sensitivity @ shift
        if not len(rows) or not len(theta):
            break
        known = sensitivity[rows]
        # The gain is theta's shift in units of the prior's standard deviation (Kalman's formula).
        factor = factored(deviations + noise.covariance(rows, rows) + known @ known.T)
        gain = known.T @ cho_solve(factor, normalized_runs - mean_C[rows])
        theta = family.prior + family.prior_std * gain
    columns = np.concatenate([sensitivity, between], axis=1)
    return Prior(theta, mean_C, columns, amplitude, noise)


def covariance_of_runs(prior: Prior, data: LawData, caution: float = 1.0) -> Floats:
    """(runs, runs) covariance of the measured normalised utilities around the prior's mean.

    At the prior's scales. caution: factor of the deviations' standard deviations.
    """
    rows = data.large_run_rows
    members, known = data.members_CN[rows], prior.sensitivity[rows]
    total = known @ known.T + prior.noise.covariance(rows, rows)
    for part, std in zip(PARTS, (prior.amplitude, SINGLETON_STD), strict=True):
        total = total + (caution * std) ** 2 * covariance(part, members, members)
    jittered: Floats = _jittered(total)
    return jittered


def _with_sensitivity(family: Family, theta: Floats) -> tuple[Floats, Floats]:
    """The curve (C,) at theta, and its derivative by each parameter (C, parameters).

    The derivative is in units of the prior's standard deviation.
    """
    curve_C = np.array(family.curve(theta), dtype=np.float64)
    columns = []
    for p in range(len(theta)):
        step = np.zeros(len(theta))
        step[p] = DERIVATIVE_STEP
        slope_C = (family.curve(theta + step) - family.curve(theta - step)) / (2 * DERIVATIVE_STEP)
        columns.append(slope_C * family.prior_std[p])
    return curve_C, np.stack(columns, axis=1) if columns else np.zeros((len(curve_C), 0))


def factored(matrix: Floats) -> tuple[Floats, bool]:
    """The Cholesky factor of a covariance, as cho_solve takes it."""
    factor, lower = cho_factor(_jittered(matrix), lower=True)
    return factor, lower


def _jittered(matrix: Floats) -> Floats:
    """The matrix, positive definite in floating point too.

    What is added is far below the last digit of any loss.
    """
    if not len(matrix):
        return matrix
    return matrix + (JITTER * float(np.trace(matrix)) / len(matrix) + 1e-300) * np.eye(len(matrix))


def _positive(std: Floats) -> Floats:
    """Standard deviations to divide by: 1 instead of 0, where the parameter cannot change."""
    return np.where(std > 0, std, 1.0)
