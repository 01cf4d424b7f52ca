"""The rehearsal: the largest small size plays the large model, and its whole table is the truth.

A law is given what it is given in earnest: the sizes below, and of the size that plays the large
one only the coalitions that have a large run. How far it misses the others says how much it is
worth on this data, without any constant from other data. It is a rehearsal over one step of the
ladder; the large model lies further.

Shapes: C coalitions, M small sizes, R seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.families import usable
from fl_sv.law.inputs import LawData
from fl_sv.law.noise import small_std
from fl_sv.law.normalized import Game, game_of
from fl_sv.law.process import common, variance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rehearsal:
    """The game in which the largest small size plays the large model.

    game: what a law is given.
    truth_C: the normalised utilities of the size that plays the large model.
    judged: rows of the coalitions that a law must predict.
    depth: (judged,) standard deviation of their deviations, a singleton's being 1 (process.py).
    noise: mean square of the truth's own seed noise, in units of `depth`.
    """

    game: Game
    truth_C: Floats
    judged: NDArray[np.intp]
    depth: Floats
    noise: float

    def misses(self, curve_C: Floats) -> Floats:
        """(judged,) truth minus prediction, in units of `depth`."""
        missed: Floats = (self.truth_C - curve_C)[self.judged] / self.depth
        return missed

    def misses_of(self, law: Callable[[Game], Floats | None]) -> Floats | None:
        """The misses of a law; None where it cannot be rehearsed."""
        curve_C = law(self.game)
        return None if curve_C is None or not usable(curve_C) else self.misses(curve_C)


def rehearsal_of(data: LawData) -> Rehearsal | None:
    """The rehearsal of this data; None with a single size, or where there is nothing to predict."""
    n_sizes = data.small_CM.shape[1]
    if n_sizes < 2:
        return None
    played_C = data.small_CM[:, -1]
    game = game_of(
        replace(
            data,
            small_CM=data.small_CM[:, :-1],
            small_RCM=None if data.small_RCM is None else data.small_RCM[:, :, :-1],
            seed_std_M=None if data.seed_std_M is None else data.seed_std_M[:-1],
            log_sizes=None if data.log_sizes is None else data.log_sizes[:-1],
            averaged=None if data.averaged is None else _averages_known(data.averaged),
            measured_losses=played_C[data.measured_rows],
            large_std=None,
        )
    )
    depth_C = np.sqrt(variance(common, data.members_CN))
    judged = np.setdiff1d(np.flatnonzero(depth_C > 0), data.measured_rows)
    if game.fallback_reason is not None or not len(judged):
        return None
    # A `seed_std` alone does not say over how many seeds the losses are means. Two, as `small_std`
    # takes them to be, was tried: it found violations of the law (benchmarks.alarms) no better.
    std_C = None if data.small_RCM is None else small_std(data)
    noise = 0.0
    if std_C is not None:
        noise = float(np.mean((std_C[judged] / game.unit / depth_C[judged]) ** 2))
    return Rehearsal(game, (played_C[0] - played_C) / game.unit, judged, depth_C[judged], noise)


def _averages_known(averaged: Floats) -> Floats:
    """(C, M) of the small sizes; of the largest only where it is known of the large one too."""
    small = averaged[:, :-1].copy()
    small[np.isnan(averaged[:, -1]), -1] = np.nan
    return small
