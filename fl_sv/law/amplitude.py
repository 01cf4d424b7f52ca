"""The amplitude: how far the large game may lie from a law.

It is estimated from how far the largest small size lies from the sizes below it.

Shapes: C coalitions, M small sizes.
"""

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.families import Family, Game
from fl_sv.law.inputs import LawData
from fl_sv.law.process import variance

# Measured as in process.py: standard deviation of a singleton's normalised utility around the law.
SINGLETON_STD = 0.15
SMALLEST = 0.01
PER_STEP = 0.7
# A known seed_std means at least two seeds, so a mean over seeds has at most half the variance.
LEAST_SEEDS = 2


def amplitude_of(
    family: Family, game: Game, data: LawData, missed_C: NDArray[np.float64] | None = None
) -> float:
    """Standard deviation of a singleton's normalised utility around `family`, with seed noise.

    missed_C: by how much the law misses the largest small size, where that is known. Without it the
        part of the ladder's last step is taken that the law's form does not explain. That step has
        the seed noise of two sizes, so the known noise is only a lower bound.
    """
    share = float(variance(data.members_CN).sum())
    if share == 0:
        return SMALLEST
    noise = noise_of(game, data) * np.sqrt(max(len(data.members_CN) - 2, 1) / share)
    normalized_CM = game.normalized_CM
    if normalized_CM.shape[1] == 1:
        return float(np.hypot(SINGLETON_STD, noise))
    step_C = normalized_CM[:, -1] - normalized_CM[:, -2]
    before_C = normalized_CM[:, -2]
    known = [before_C * (1 - before_C)]
    if family.increasing:
        known = known if family.parameters else []
    elif normalized_CM.shape[1] > 2:
        known.append(normalized_CM[:, -2] - normalized_CM[:, -3])
    off_C = _residual(step_C, known) if missed_C is None else missed_C
    off = PER_STEP * game.steps_to_large * float(np.sqrt(off_C @ off_C / share))
    return float(max(SMALLEST, off, noise))


def noise_of(game: Game, data: LawData) -> float:
    """Standard deviation of the seed noise in a normalised utility of the largest small size.

    0 where it is not known.
    """
    if data.seed_std_M is None or game.fallback_reason is not None:
        return 0.0
    gain = abs(float(data.small_CM[0, -1] - data.small_CM[-1, -1]))
    return float(data.seed_std_M[-1] / np.sqrt(LEAST_SEEDS)) / gain


def _residual(
    target_C: NDArray[np.float64], known: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What a least-squares fit by the `known` columns leaves of the target."""
    if not known:
        return target_C
    columns = np.stack(known, axis=1)
    return target_C - columns @ np.linalg.lstsq(columns, target_C, rcond=None)[0]
