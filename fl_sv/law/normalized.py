"""Both games in one scale: what a law is given.

A law is written in normalised utilities. That of coalition S is

    u(S) = (L(empty) - L(S)) / (L(empty) - L(grand)).

It is 0 at the empty and 1 at the grand coalition, at every size.

Shapes: N companies, C coalitions, M small sizes, R seeds. "runs" are the large runs, both ends
included.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.inputs import LawData

Floats = NDArray[np.float64]

# A game whose two ends differ by less than this share of its largest loss cannot be normalised.
FLAT = 1e-6
# A large size as many steps away, or more, is as far as any.
MOST_STEPS = 100.0


@dataclass(frozen=True)
class Game:
    """What a law is given: the small games, and the large game as far as it is measured.

    normalized_CM: normalised utility of every coalition at every small size.
    loss_empty, loss_grand: the large model's loss with nobody and with all companies.
    unit: the loss that is one unit of the large game's normalised utility.
    end: normalised utility of the grand coalition: 1, but 0 where the large model learns nothing.
    steps_to_large: how many steps the large size lies beyond the largest small one. The unit is the
        ladder's last step, in log size.
    retention: the last step's slope over that of the step before, None with fewer than three sizes.
    step_reliability: share of the last step that is no seed noise, None where that is not known.
    fallback_reason: why only the affine law can be fitted, None where all can.
    small_CM: the small models' losses.
    size_C: how many members each coalition has; n_companies: how many there are.
    run_rows, run_losses: the rows of the coalitions with a large run, both ends included, and their
        measured losses.
    averaged: (C, M+1) losses of the averages of the members' own models, the large model's last;
        NaN where one is unknown, None where all are.
    """

    normalized_CM: Floats
    loss_empty: float
    loss_grand: float
    unit: float
    end: float
    steps_to_large: float
    retention: float | None
    step_reliability: float | None
    fallback_reason: str | None
    small_CM: Floats
    size_C: NDArray[np.int64]
    n_companies: int
    run_rows: NDArray[np.intp]
    run_losses: Floats
    averaged: Floats | None

    @property
    def normalized_runs(self) -> Floats:
        """(runs,) normalised utilities of the large runs, without the two ends."""
        normalized: Floats = (self.loss_empty - self.run_losses[1:-1]) / self.unit
        return normalized


def game_of(data: LawData) -> Game:
    """The data, normalised. A game that cannot be normalised is replaced, with a reason."""
    gain_M = data.small_CM[0] - data.small_CM[-1]
    gain = float(data.measured_losses[0] - data.measured_losses[-1])
    fallback_reason = None
    if (np.abs(gain_M) <= FLAT * np.abs(data.small_CM).max(axis=0)).any():
        fallback_reason = (
            "a small model gains practically nothing from all companies together, so the law"
            " counts members instead"
        )
        normalized_CM = data.members_CN.mean(axis=1)[:, None]
    else:
        normalized_CM = (data.small_CM[0] - data.small_CM) / gain_M
    unit, end = gain, 1.0
    if abs(gain) <= FLAT * float(np.abs(data.measured_losses).max()):
        fallback_reason = (
            "the large model gains practically nothing from all companies together, so there is"
            " nothing to share"
        )
        unit = max(float(np.abs(data.measured_losses).max()), 1.0)
        end = gain / unit
    step_M = np.ones(data.small_CM.shape[1]) if data.log_sizes is None else np.diff(data.log_sizes)
    n_sizes = normalized_CM.shape[1]
    return Game(
        normalized_CM=normalized_CM,
        loss_empty=float(data.measured_losses[0]),
        loss_grand=float(data.measured_losses[-1]),
        unit=unit,
        end=end,
        steps_to_large=min(float(step_M[-1] / step_M[-2]), MOST_STEPS) if n_sizes > 1 else 1.0,
        retention=_retention(normalized_CM, step_M) if n_sizes > 2 else None,
        step_reliability=(
            _step_reliability(data.small_RCM)
            if n_sizes > 1 and data.small_RCM is not None
            else None
        ),
        fallback_reason=fallback_reason,
        small_CM=data.small_CM,
        size_C=data.size_C,
        n_companies=data.n_companies,
        run_rows=data.measured_rows,
        run_losses=data.measured_losses,
        averaged=data.averaged,
    )


def _step_reliability(small_RCM: Floats) -> float:
    """Share of the ladder's last step that is no seed noise, from 0 to 1.

    1 - (squared standard error of the mean step) / (its square), both summed over coalitions.
    """
    gain_RM = small_RCM[:, 0] - small_RCM[:, -1]
    if (np.abs(gain_RM[:, -2:]) <= FLAT * np.abs(small_RCM[:, :, -2:]).max(axis=1)).any():
        return 0.0
    normalized_RCM = (small_RCM[:, :1, -2:] - small_RCM[:, :, -2:]) / gain_RM[:, None, -2:]
    step_RC = normalized_RCM[:, :, 1] - normalized_RCM[:, :, 0]
    step_C = step_RC.mean(axis=0)
    seeds = len(step_RC)
    moved = float(step_C @ step_C)
    noise = float(((step_RC - step_C) ** 2).sum()) / (seeds * (seeds - 1))
    return max(0.0, 1 - noise / moved) if moved > 0 else 0.0


def _retention(normalized_CM: Floats, step_M: Floats) -> float:
    """The last step's slope over that of the step before, by least squares over coalitions."""
    before_C = (normalized_CM[:, -2] - normalized_CM[:, -3]) / step_M[-3]
    last_C = (normalized_CM[:, -1] - normalized_CM[:, -2]) / step_M[-2]
    moved = float(before_C @ before_C)
    return float(before_C @ last_C) / moved if moved > 0 else 0.0
