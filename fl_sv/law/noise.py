"""The seed noise of the large runs: a large run is a measurement, not the truth.

The law predicts the expected loss over training seeds. A single training differs from it by noise.
How much is measured where the large model trained with several seeds. Otherwise it is taken from
the small models: their spread over seeds, pooled over the coalitions of one size, in proportion to
the two models' gains. On 35 games with several large trainings the noise was 0.6 times this (the
median), and from 0.3 to 2.5 times (nine in ten). Two to six times it was where the large model
overfits; there intervals are too narrow, which only a second seed of the large model shows.
`posterior.py` lets the scale vary.

Trainings of one seed share initialisation and batches, so coalitions with common members deviate
alike: the correlation is SHARED + (1 - SHARED) J, with Jaccard's similarity J.

Shapes: C coalitions, R seeds. "runs" are all large runs, the empty and the grand coalition
included.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.inputs import LawData

# Correlation of the noise of two coalitions without a common member. Measured on the 16 games of
# benchmarks/data/games: the median over pairs is 0.1 to 0.2 without common members, 0.7 to 0.9
# where nearly all are common.
SHARED = 0.2
# The small models' spread counts as much as this many degrees of freedom of measured spread.
PRIOR_FREEDOM = 3.0
# Below this share of the noise that is given, what the small models lead to expect shows nothing.
TINY = 1e-9
# Orders of the companies over which the noise of values is averaged; it is right within 2 %.
ORDERS = 16

Floats = NDArray[np.float64]
Rows = NDArray[np.intp] | slice


@dataclass(frozen=True, eq=False)
class Noise:
    """The seed noise of a large run at every coalition.

    members_CN: members of the coalitions.
    std_C: standard deviation of the mean over seeds, in the unit of whoever asks.
    estimated: whether it comes from the small models' seeds, so that its scale is uncertain.
    """

    members_CN: NDArray[np.bool_]
    std_C: Floats
    estimated: bool

    def of_means_over(self, times: float) -> "Noise":
        """The noise of runs with so many times the seeds."""
        return replace(self, std_C=self.std_C / np.sqrt(times))

    def covariance(self, rows: Rows, columns: Rows) -> Floats:
        """(rows, columns) covariance of the noise of runs with the same seeds."""
        first, second = (self.members_CN[of].astype(np.float64) for of in (rows, columns))
        both = first @ second.T
        either = first.sum(axis=1)[:, None] + second.sum(axis=1)[None, :] - both
        alike = np.where(either > 0, both / np.maximum(either, 1), 1.0)
        std = np.outer(self.std_C[rows], self.std_C[columns])
        covariance: Floats = (SHARED + (1 - SHARED) * alike) * std
        return covariance


def noise_of(data: LawData, unit: float) -> Noise:
    """The noise of the large runs, in units of `unit` (a loss).

    As given; otherwise estimated from the small models' seeds, and 0 where these are unknown.
    """
    expected_C = _expected(data)
    if data.large_std is None:
        std_C = np.zeros(len(data.members_CN)) if expected_C is None else expected_C
        return Noise(data.members_CN, std_C / abs(unit), expected_C is not None)
    # At other coalitions the given noise is continued in proportion to what the small models lead
    # to expect, or by its mean.
    given = _root_mean_square(data.large_std[1:])
    std_C = np.full(len(data.members_CN), given)
    if expected_C is not None:
        expected = _root_mean_square(expected_C[data.measured_rows[1:]])
        if expected > TINY * given:
            std_C = expected_C * (given / expected)
    std_C[data.measured_rows] = data.large_std
    return Noise(data.members_CN, std_C / abs(unit), False)


def expected_std(small_RC: Floats, size_C: NDArray[np.int64], gain: float) -> Floats:
    """(C,) standard deviation of one large training on each coalition, by the small models' seeds.

    small_RC: (R, C) losses of the largest small model, the empty coalition first, the grand one
        last.
    gain: by how much all companies together lower the large model's loss.
    """
    std_C = np.sqrt(pooled(small_RC.var(axis=0, ddof=1), size_C))
    return _in_proportion(std_C, small_RC.mean(axis=0), gain)


def small_std(data: LawData) -> Floats | None:
    """(C,) standard deviation of the largest small size's mean losses; None where it is unknown."""
    if data.small_RCM is not None:
        variance_C = data.small_RCM[:, :, -1].var(axis=0, ddof=1)
        std_C: Floats = np.sqrt(pooled(variance_C, data.size_C) / len(data.small_RCM))
        return std_C
    if data.seed_std_M is None:
        return None
    # A known seed_std means at least two seeds.
    return np.full(len(data.size_C), float(data.seed_std_M[-1]) / np.sqrt(2))


def _expected(data: LawData) -> Floats | None:
    """(C,) as `expected_std`; None where nothing is known of the small models' seeds."""
    gain = float(data.measured_losses[0] - data.measured_losses[-1])
    if data.small_RCM is not None:
        return expected_std(data.small_RCM[:, :, -1], data.size_C, gain)
    if data.seed_std_M is None:
        return None
    # Nothing is random about the untrained model of a built-in kind.
    std_C = float(data.seed_std_M[-1]) * (data.size_C > 0).astype(np.float64)
    return _in_proportion(std_C, data.small_CM[:, -1], gain)


def _in_proportion(std_C: Floats, small_C: Floats, gain: float) -> Floats:
    """The small models' noise in proportion to the two models' gains."""
    gain_small = abs(float(small_C[0] - small_C[-1]))
    return std_C * (abs(gain) / gain_small) if gain_small > 0 else std_C


def _root_mean_square(std: Floats) -> float:
    return float(np.sqrt(np.mean(std**2)))


def pooled(variance_C: Floats, size_C: NDArray[np.int64]) -> Floats:
    """(C,) the mean variance over coalitions with as many members.

    The grand coalition is a single one, and its spread over few seeds says little; it is pooled
    with those one smaller.
    """
    sizes = np.unique(size_C)
    mean_of = {int(size): float(variance_C[size_C == size].mean()) for size in sizes}
    if len(sizes) > 2:
        mean_of[int(sizes[-1])] = float(variance_C[size_C >= sizes[-2]].mean())
    return np.array([mean_of[size] for size in size_C.tolist()])


def std_of_means(losses: Floats, size: NDArray[np.int64], expected: Floats | None) -> Floats:
    """(runs,) standard deviation of each large run's mean over two seeds or more.

    losses: (R, runs), every seed's.
    size: (runs,) members.
    expected: (runs,) of one training, as `expected_std` gives it, or None.

    The measured variance, pooled by size, is averaged with the expected one by degrees of freedom.
    """
    seeds = len(losses)
    measured = losses.var(axis=0, ddof=1)
    freedom = np.array([(seeds - 1) * float((size == s).sum()) for s in size.tolist()])
    variance = np.array([float(measured[size == s].mean()) for s in size.tolist()])
    if expected is not None:
        variance = (PRIOR_FREEDOM * expected**2 + freedom * variance) / (PRIOR_FREEDOM + freedom)
    std: Floats = np.sqrt(np.where(size == 0, measured, variance) / seeds)
    return std


def value_noise(noise: Noise, values_of: Callable[[Floats], Floats]) -> Floats:
    """(N,) standard deviation of the values if every coalition were trained once.

    values_of: from games in columns (C, games) to values (N, games).

    Jaccard's similarity is the probability that the member that comes first in a random order of
    all companies is the same for both coalitions (Broder 1997). So given an order, the noise is a
    sum of independent parts, one for all coalitions with the same first member. The variances are
    averaged over orders. The empty coalition comes after all.
    """
    members_CN = noise.members_CN
    n_companies = members_CN.shape[1]
    nobody_C = ~members_CN.any(axis=1, keepdims=True)
    place = np.arange(n_companies + 1)
    generator = np.random.default_rng(0)
    variances: list[Floats] = []
    for _ in range(ORDERS):
        ordered = np.hstack([members_CN[:, generator.permutation(n_companies)], nobody_C])
        alike = np.argmax(ordered, axis=1)[:, None] == place
        values = values_of(np.where(alike, noise.std_C[:, None], 0.0))
        variances.append(np.sum(values**2, axis=1))
    of_all_N = values_of(noise.std_C[:, None])[:, 0] ** 2
    std_N: Floats = np.sqrt(SHARED * of_all_N + (1 - SHARED) * np.mean(variances, axis=0))
    return std_N
