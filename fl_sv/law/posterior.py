"""The posterior: the law as a Gaussian process (prior.py), given the large runs.

A prediction is the posterior mean without the seed noise of the large runs. Where that noise is 0
the prediction equals the measured loss (Rasmussen and Williams 2006, chapter 2).

Everything is linear in the runs, so mean and covariance of the Shapley values follow without a
covariance of 2**N coalitions. Three scales are uncertain: those of the common part, of the
singletons' part, and of seed noise that was not measured. They have log-normal priors, and are
integrated out on a grid: the results of its points are averaged by their evidence (marginal
likelihood).

The two ends are the units of the normalised utility, so their seed noise is not a deviation: that
of the grand coalition's run stretches all utilities alike, that of the empty one's shifts them.

Shapes: N companies, C coalitions. "runs" are the large runs besides the empty and the grand
coalition, "points" those of the grid, "parts" those of a deviation, "crosses" the law and the
parts.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve

from fl_sv.law.inputs import LawData
from fl_sv.law.noise import Noise
from fl_sv.law.prior import PARTS, SINGLETON_STD, Prior, factored
from fl_sv.law.process import (
    Part,
    covariance,
    value_covariance,
    value_cross_covariance,
    variance,
)
from fl_sv.values.exact import shapley

Floats = NDArray[np.float64]

# Each scale is taken at these standard deviations of its logarithm from its prior median.
STEPS = np.array([-1.5, -0.75, 0.0, 0.75, 1.5])
COMMON_LOG_STD, SINGLETON_LOG_STD, NOISE_LOG_STD = 0.7, 1.0, 0.5
BLOCK = 4096  # coalitions whose covariance with the runs is in memory at once
SAMPLE_BLOCK = 512  # coalitions whose covariance with all others is in memory at once


@dataclass(frozen=True)
class Scales:
    """The grid: variances of the two parts and of the noise at each point, and the points' weights.

    parts: (points, parts) variances in squared normalised utility.
    noise: (points,) factors of the noise covariance.
    weights: (points,), sum 1.
    """

    parts: Floats
    noise: Floats
    weights: Floats


@dataclass(frozen=True)
class Posterior:
    """Normalised utilities with their variance, and what the runs say of the whole game.

    scales: the grid, weighted by evidence.
    reduction: (crosses, crosses, runs, runs) by how much the runs reduce covariances: that of a and
        b by the sum over j and k of a_j reduction[j, k] b_k, where a_j is the covariance of a with
        the runs by the law (j = 0) or by a part at scale 1 (j = 1, 2).
    """

    normalized_C: Floats
    variance_C: Floats
    scales: Scales
    reduction: Floats

    def deviation_std(self) -> float:
        """Root mean square of a singleton's common deviation, given the runs."""
        return float(np.sqrt(self.scales.weights @ self.scales.parts[:, 0]))


@dataclass(frozen=True)
class RunsOnGrid:
    """The large runs at each point of the grid.

    normalized: (runs,) measured normalised utilities.
    grid: with prior weights.
    log_evidence: (points,) log density of the runs, up to a constant.
    run_weights: (points, runs) inverse covariance of the runs times their residuals.
    inverses: (points, runs, runs) inverse covariance of the runs.
    """

    normalized: Floats
    grid: Scales
    log_evidence: Floats
    run_weights: Floats
    inverses: Floats


def runs_on_grid(prior: Prior, data: LawData, normalized_runs: Floats) -> RunsOnGrid:
    """The large runs, conditioned at every point of the grid."""
    rows = data.large_run_rows
    members, known = data.members_CN[rows], prior.sensitivity[rows]
    residuals = normalized_runs - prior.mean_C[rows]
    with_unit = np.column_stack([residuals, np.eye(len(rows))])
    of_law, of_noise = known @ known.T, prior.noise.covariance(rows, rows)
    of_parts = [covariance(part, members, members) for part in PARTS]
    grid = _grid(prior)
    scores, run_weights, inverses = [], [], []
    for squares, noise in zip(grid.parts, grid.noise, strict=True):
        total = of_law + noise * of_noise
        for square, of_part in zip(squares, of_parts, strict=True):
            total = total + square * of_part
        factor = factored(total)
        solved = cho_solve(factor, with_unit)
        run_weights.append(solved[:, 0])
        inverses.append(solved[:, 1:])
        log_determinant = 2 * float(np.log(np.diag(factor[0])).sum())
        scores.append(-0.5 * (float(residuals @ run_weights[-1]) + log_determinant))
    return RunsOnGrid(
        normalized_runs, grid, np.array(scores), np.array(run_weights), np.array(inverses)
    )


def condition(
    prior: Prior, data: LawData, runs: RunsOnGrid, scales: Scales | None = None
) -> Posterior:
    """Normalised utility of every coalition given the large runs, with its variance.

    scales: how probable the scales are; by default what the runs say of them.
    """
    rows = data.large_run_rows
    members, known = data.members_CN[rows], prior.sensitivity[rows]
    if scales is None:
        scales = replace(runs.grid, weights=averaging(runs.log_evidence, runs.grid.weights))
    # At each point the covariance with the runs is sum_j s_j cross_j, with s_0 = 1 for the law.
    factors = np.concatenate([np.ones((len(scales.weights), 1)), scales.parts], axis=1)
    reduction = _reduction(scales.weights, factors, runs.inverses, runs.run_weights)
    pull = np.einsum("p,pj,pr->jr", scales.weights, factors, runs.run_weights)
    normalized_C = prior.mean_C.copy()
    variance_C = np.sum(prior.sensitivity**2, axis=1)
    squares = scales.weights @ scales.parts
    for start in range(0, len(normalized_C), BLOCK):
        block = slice(start, start + BLOCK)
        block_members = data.members_CN[block]
        crosses = [prior.sensitivity[block] @ known.T]
        for part, square in zip(PARTS, squares, strict=True):
            crosses.append(covariance(part, block_members, members))
            variance_C[block] += square * variance(part, block_members)
        for j, cross in enumerate(crosses):
            normalized_C[block] += cross @ pull[j]
            for k, other in enumerate(crosses):
                variance_C[block] -= np.sum((cross @ reduction[j, k]) * other, axis=1)
    variance_C = np.maximum(variance_C, 0.0)
    # Without the rounding errors of the formulas above: a run without noise is exact.
    exact = prior.noise.std_C[rows] == 0
    normalized_C[rows[exact]] = runs.normalized[exact]
    variance_C += _end_variance(prior.noise, scales, normalized_C)
    variance_C[rows[exact]] = 0.0
    return Posterior(normalized_C, variance_C, scales, reduction)


def normalized_value_covariance(
    prior: Prior, posterior: Posterior, data: LawData, weight_CN: Floats | None = None
) -> Floats:
    """(N, N) covariance of the values of the large game, in squared normalised utility.

    They are the Shapley values of a complete table. With weight_CN they are the values weight_CN.T
    @ utility_C of a sample.
    """
    # The values are a linear map of the game. So each step of `condition` is repeated on the values
    # themselves: N x N matrices instead of C x C ones.

    def values_of(games: Floats) -> Floats:
        """(N, games) values of the games in the columns."""
        return shapley_columns(games) if weight_CN is None else weight_CN.T @ games

    scales, members = posterior.scales, data.members_CN[data.large_run_rows]
    law_values = values_of(prior.sensitivity)
    total_NN = law_values @ law_values.T
    crosses = [law_values @ prior.sensitivity[data.large_run_rows].T]
    for part, square in zip(PARTS, scales.weights @ scales.parts, strict=True):
        if weight_CN is None:
            total_NN = total_NN + square * value_covariance(part, data.n_companies)
            crosses.append(value_cross_covariance(part, members))
        else:
            total_NN = total_NN + square * _weighted_covariance(part, data.members_CN, weight_CN)
            crosses.append(weight_CN.T @ covariance(part, data.members_CN, members))
    for j, cross in enumerate(crosses):
        for k, other in enumerate(crosses):
            total_NN = total_NN - cross @ posterior.reduction[j, k] @ other.T
    # The ends: the seed noise of the grand coalition's run stretches all values, that of the empty
    # one's shrinks them.
    value_N = values_of(posterior.normalized_C[:, None])[:, 0]
    ends = float(scales.weights @ scales.noise) * (prior.noise.std_C[[0, -1]] ** 2).sum()
    total_NN = total_NN + ends * np.outer(value_N, value_N)
    covariance_NN: Floats = (total_NN + total_NN.T) / 2  # rounding leaves it not quite symmetric
    return covariance_NN


def _grid(prior: Prior) -> Scales:
    """All combinations of scales with their prior weights."""
    noise_steps = STEPS
    if not prior.noise.estimated or not prior.noise.std_C.any():
        noise_steps = np.zeros(1)  # the noise is measured, or there is none
    points = np.array(list(product(STEPS, STEPS, noise_steps)))
    weights = np.exp(-0.5 * np.sum(points**2, axis=1))
    stds = np.array([prior.amplitude, SINGLETON_STD])
    parts = (stds * np.exp(points[:, :2] * [COMMON_LOG_STD, SINGLETON_LOG_STD])) ** 2
    return Scales(parts, np.exp(2 * NOISE_LOG_STD * points[:, 2]), weights / weights.sum())


def _reduction(weights: Floats, factors: Floats, inverses: Floats, run_weights: Floats) -> Floats:
    """`Posterior.reduction`. factors: (points, crosses).

    A mixture's covariance is the mean of the covariances, and the covariance of the means. The
    means of the points differ by the points' run weights.
    """
    scaled = factors[:, :, None] * run_weights[:, None, :]  # (points, crosses, runs)
    centred = scaled - np.einsum("p,pjr->jr", weights, scaled)
    within = np.einsum("p,pj,pk,prs->jkrs", weights, factors, factors, inverses, optimize=True)
    reduction: Floats = within - np.einsum("p,pjr,pks->jkrs", weights, centred, centred)
    return reduction


def _end_variance(noise: Noise, scales: Scales, normalized_C: Floats) -> Floats:
    """(C,) variance of the utilities by the seed noise of the two ends."""
    empty, grand = noise.std_C[[0, -1]] ** 2 * float(scales.weights @ scales.noise)
    ends_C: Floats = grand * normalized_C**2 + empty * (1 - normalized_C) ** 2
    return ends_C


def averaging(log_evidence: Floats, prior_weights: Floats) -> Floats:
    """Posterior weights of the points. log_evidence: (points,), or (points, ...)."""
    log_weights = log_evidence + np.log(prior_weights)
    weights = np.exp(log_weights - log_weights.max(axis=0))
    averaged: Floats = weights / weights.sum(axis=0)
    return averaged


def shapley_columns(games: Floats) -> Floats:
    """(N, games) Shapley values of the games in the columns. games: (2**N, games)."""
    n_companies = len(games).bit_length() - 1
    columns = [shapley(np.ascontiguousarray(games[:, k])) for k in range(games.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros((n_companies, 0))


def _weighted_covariance(part: Part, members_CN: NDArray[np.bool_], weight_CN: Floats) -> Floats:
    """(N, N) covariance of weight_CN.T @ deviation_C, at scale 1.

    It is summed in blocks: C x C numbers are never in memory.
    """
    total_NN = np.zeros((weight_CN.shape[1],) * 2)
    for start in range(0, len(members_CN), SAMPLE_BLOCK):
        rows = slice(start, start + SAMPLE_BLOCK)
        total_NN += weight_CN[rows].T @ (covariance(part, members_CN[rows], members_CN) @ weight_CN)
    return total_NN
