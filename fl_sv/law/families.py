"""The candidate laws: how far each coalition of the large model has come, from the small models'
losses.

Progress P(S) = (L(empty) - L(S)) / (L(empty) - L(grand)) is 0 and 1 at the two ends at every size,
so any law of progress passes through both free anchors. Large loss: L(S) = L(empty) - P(S)
(L(empty) - L(grand)).

  affine        P = p_M. Shares equal the small model's shares.
  power         the affine law's loss to the power kappa, anchored: y**kappa between y(empty)**kappa and
                y(grand)**kappa (loss-to-loss with K and E1 eliminated by the anchors; Brandfonbrener et al. 2024).
  ladder        P = p_M + k (p_M - p_(M-1)): every coalition goes on along its own line in log size.
  ladder+power  the power of the ladder's loss.

affine and power increase strictly in the small loss; the ladders do not: two coalitions with equal
loss at size M may have come from different losses at size M - 1.

A ladder goes on as far as its last step is one: as far as seeds agree on it, and not at all where
the steps turn back. What the seeds of training make of a step would be carried on as well, several
steps far.

Shapes: N companies, C coalitions, M small sizes, R seeds, P parameters of a law.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.inputs import LawData

# Priors, measured on the games of tests/data/law_digits.npz (two steps of the ladder to the large
# model) and on 18 of benchmarks.truth (four steps). The large game goes on along the ladder's last
# step by about as much as if every further step were seven tenths of the one before; what the
# retention of the ladder itself says adds nothing to that.
SHRINKING, SLOPE_STD = 0.7, 0.3
# Retentions below this: two steps of pure noise have -0.5 where sizes are evenly apart, for they
# share the one between.
TURNING = -0.2
CURVATURE, CURVATURE_STD = 0.1, 0.15
# Beyond these bounds of log kappa a power is a step at one of its ends.
STEEPEST = 1.5
# A game whose two ends differ by less than this share of its largest loss has no progress to speak
# of.
FLAT = 1e-6


@dataclass(frozen=True)
class Game:
    """Progress of the small games, and the large game's two ends.

    normalized_CM; unit: the loss that is one unit of the large game's progress, `end` its progress at
    the grand coalition (1, but 0 when the large model learns nothing); steps_to_large: distance from the
    largest small size to the large one in steps of the ladder (log size); retention: slope of
    progress over the last step relative to the step before (None with fewer than three sizes);
    step_reliability: share of the last step that is no seed noise (None if not known); fault: why only
    the affine law can be fitted, None if all can."""

    normalized_CM: NDArray[np.float64]
    loss_empty: float
    loss_grand: float
    unit: float
    end: float
    steps_to_large: float
    retention: float | None
    step_reliability: float | None
    fault: str | None

    @property
    def turns_back(self) -> bool:
        return self.retention is not None and self.retention < TURNING


@dataclass(frozen=True)
class Family:
    """One candidate law: `curve(theta)` is normalized_C; theta has independent normal priors.

    A law of one's own is a function from Game to Family. Its curve must be 0 and 1 at the first and
    the last coalition, the empty and the grand one, whatever theta. increasing: strictly, in the
    progress of the largest small size, and in nothing else. ladder: goes on along the ladder's last
    step, by the first parameter."""

    name: str
    parameters: tuple[str, ...]
    prior: NDArray[np.float64]
    prior_std: NDArray[np.float64]
    increasing: bool
    curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ladder: bool = False


FamilyOf = Callable[[Game], Family]


def game_of(data: LawData) -> Game:
    """The data as progress. Where a game has no progress at all, a stand-in and the sentence that
    says so.
    """
    gain_M = data.small_CM[0] - data.small_CM[-1]
    gain = float(data.measured_losses[0] - data.measured_losses[-1])
    fault = None
    if (np.abs(gain_M) <= FLAT * np.abs(data.small_CM).max(axis=0)).any():
        fault = (
            "a small model gains practically nothing from all companies together; the law counts"
            " members instead"
        )
        normalized_CM = data.members_CN.mean(axis=1)[:, None]
    else:
        normalized_CM = (data.small_CM[0] - data.small_CM) / gain_M
    unit, end = gain, 1.0
    if abs(gain) <= FLAT * float(np.abs(data.measured_losses).max()):
        fault = (
            "the large model gains practically nothing from all companies together; there is"
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
        steps_to_large=float(step_M[-1] / step_M[-2]) if n_sizes > 1 else 1.0,
        retention=_retention(normalized_CM, step_M) if n_sizes > 2 else None,
        step_reliability=(
            _step_reliability(data.small_RCM)
            if n_sizes > 1 and data.small_RCM is not None
            else None
        ),
        fault=fault,
    )


def families(game: Game) -> dict[str, Family]:
    """All laws that the number of sizes allows, simplest first."""
    largest_C = game.normalized_CM[:, -1]
    nothing = np.zeros(0)
    affine = Family("affine", (), nothing, nothing, True, lambda theta: game.end * largest_C)
    if game.fault is not None:
        return {affine.name: affine}
    laws = [
        affine,
        Family(
            "power",
            ("log_kappa",),
            np.array([0.0]),
            np.array([CURVATURE_STD]),
            True,
            lambda theta: power(largest_C, theta[0], game.loss_empty, game.loss_grand),
        ),
    ]
    if game.normalized_CM.shape[1] > 1:
        step_C = largest_C - game.normalized_CM[:, -2]
        slope = SHRINKING * (1 - SHRINKING**game.steps_to_large) / (1 - SHRINKING)
        slope *= 1.0 if game.step_reliability is None else game.step_reliability
        laws.append(
            Family(
                "ladder",
                ("slope",),
                np.array([slope]),
                np.array([SLOPE_STD]),
                False,
                lambda theta: largest_C + theta[0] * step_C,
                ladder=True,
            )
        )
        laws.append(
            Family(
                "ladder+power",
                ("slope", "log_kappa"),
                np.array([slope, CURVATURE]),
                np.array([SLOPE_STD, CURVATURE_STD]),
                False,
                lambda theta: power(
                    largest_C + theta[0] * step_C, theta[1], game.loss_empty, game.loss_grand
                ),
                ladder=True,
            )
        )
    return {law.name: law for law in laws}


def power(
    normalized_C: NDArray[np.float64], log_kappa: float, loss_empty: float, loss_grand: float
) -> NDArray[np.float64]:
    """Progress after raising the large loss to the power kappa between its two ends."""
    gain = loss_empty - loss_grand
    smaller = min(loss_empty, loss_grand)
    # Losses are at least 0; a utility with negative losses is shifted, which makes the curve as
    # weak as at E0 = 0.
    floor = 0.0 if smaller > 0 else smaller - max(abs(gain), abs(smaller), 1.0)
    kappa = float(np.exp(np.clip(log_kappa, -STEEPEST, STEEPEST)))
    # Relative to the loss of the empty coalition, so that no power overflows; extrapolated progress
    # may pass zero loss.
    relative_C = (loss_empty - floor - normalized_C * gain) / (loss_empty - floor)
    end = (loss_grand - floor) / (loss_empty - floor)
    if abs(1 - end) < 1e-9:
        return normalized_C
    relative_C = np.maximum(relative_C, 0.02 * min(1.0, end))
    curve_C: NDArray[np.float64] = (1 - relative_C**kappa) / (1 - end**kappa)
    return curve_C


def _step_reliability(small_RCM: NDArray[np.float64]) -> float:
    """1 - (squared standard error of the mean step) / (its square), both summed over coalitions; at
    least 0.
    """
    gain_RM = small_RCM[:, 0] - small_RCM[:, -1]
    if (np.abs(gain_RM[:, -2:]) <= FLAT * np.abs(small_RCM[:, :, -2:]).max(axis=1)).any():
        return 0.0
    normalized_RCM = (small_RCM[:, :1, -2:] - small_RCM[:, :, -2:]) / gain_RM[:, None, -2:]
    step_RC = normalized_RCM[:, :, 1] - normalized_RCM[:, :, 0]
    step_C = step_RC.mean(axis=0)
    seeds = len(step_RC)
    moved, noise = (
        float(step_C @ step_C),
        float(((step_RC - step_C) ** 2).sum()) / (seeds * (seeds - 1)),
    )
    return max(0.0, 1 - noise / moved) if moved > 0 else 0.0


def _retention(normalized_CM: NDArray[np.float64], step_M: NDArray[np.float64]) -> float:
    before_C = (normalized_CM[:, -2] - normalized_CM[:, -3]) / step_M[-3]
    last_C = (normalized_CM[:, -1] - normalized_CM[:, -2]) / step_M[-2]
    moved = float(before_C @ before_C)
    return float(before_C @ last_C) / moved if moved > 0 else 0.0
