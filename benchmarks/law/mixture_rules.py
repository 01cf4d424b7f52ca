"""Simple rules for the large size's losses of mixtures, from small losses and a few known runs.

Shapes: C mixtures, M small sizes. All return (C, domains).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.law.mixtures import Mixtures

Floats = NDArray[np.float64]

SLOPES = (0.5, 2.0)  # of a line of log on log; the largest on these tables is 1.4


def small_losses(table: Mixtures, runs: Sequence[int]) -> Floats:
    """As they are."""
    return table.small[:, -1]


def ratio(table: Mixtures, runs: Sequence[int]) -> Floats:
    """The small losses times one ratio, by domain."""
    return _times_ratio(table.small[:, -1], table, runs)


def power(table: Mixtures, runs: Sequence[int]) -> Floats:
    """The line of log on log through the known runs, by domain; with one run the ratio.

    Its slope is bounded: two runs may have nearly the same small loss.
    """
    if len(runs) < 2:
        return ratio(table, runs)
    small, large = np.log(table.small[:, -1]), np.log(table.large)
    return np.exp(_lines(small, large, runs, SLOPES))


def ladder(table: Mixtures, runs: Sequence[int]) -> Floats | None:
    """The step between the two small sizes carried on by log size, times one ratio."""
    if table.small.shape[1] < 2:
        return None
    below, small, large = np.log(table.sizes[-3:])
    steps = float((large - small) / (small - below))
    carried = table.small[:, -1] + steps * (table.small[:, -1] - table.small[:, -2])
    return _times_ratio(carried, table, runs)


def best_line(table: Mixtures, runs: Sequence[int]) -> Floats:
    """The straight line that knows all large losses, by domain."""
    return _lines(table.small[:, -1], table.large, range(len(table.large)))


def _times_ratio(losses: Floats, table: Mixtures, runs: Sequence[int]) -> Floats:
    known = [*runs]
    scaled: Floats = losses * np.exp(np.mean(np.log(table.large[known] / losses[known]), axis=0))
    return scaled


def _lines(
    small: Floats,
    large: Floats,
    runs: Sequence[int],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Floats:
    known = [*runs]
    centre = small[known].mean(axis=0)
    x, y = small[known] - centre, large[known]
    slope = np.clip(np.sum(x * y, axis=0) / np.sum(x**2, axis=0), *bounds)
    line: Floats = y.mean(axis=0) + slope * (small - centre)
    return line
