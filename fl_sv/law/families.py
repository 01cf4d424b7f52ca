"""The candidate laws: from the small models' normalised utilities to the large model's.

The normalised utility of coalition S is

    u(S) = (L(empty) - L(S)) / (L(empty) - L(grand)).

It is 0 at the empty and 1 at the grand coalition, at every size. So any law of it passes through
the two ends that are measured anyway. The large model's loss is L(empty) - u(S) (L(empty) -
L(grand)). With u_M of the largest small size and u_(M-1) of the one below it:

    affine        u = u_M: shares equal those of the small model.
    power         the affine law's loss y to the power kappa, between y(empty)**kappa and
                  y(grand)**kappa (loss-to-loss with K and E1 eliminated by the two ends;
                  Brandfonbrener et al. 2024).
    ladder        u = u_M + slope (u_M - u_(M-1)): every coalition continues its own line in log
                  size.
    ladder+power  the power of the ladder's loss.

affine and power increase strictly in the small loss. The ladders do not: two coalitions with equal
loss at size M may have different losses at size M - 1.

A ladder continues its last step only with the share on which the seeds agree, and not at all where
the steps turn back. Otherwise the seed noise of one step would be extrapolated over several steps.

Shapes: N companies, C coalitions, M small sizes, R seeds. theta are a law's parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.inputs import LawData

# Priors, measured on the games of tests/data/law_digits.npz (two steps of the ladder to the large
# model) and on 18 of benchmarks.truth (four steps). The large game continues the ladder's last step
# about as far as if every further step were seven tenths of the one before. The retention of the
# ladder itself did not improve this prediction.
SHRINKING, SLOPE_STD = 0.7, 0.3
# A ladder turns back where its retention is below this. Two steps of pure noise have -0.5 where
# sizes are evenly spaced, because both steps contain the noise of the size between them.
TURNING = -0.2
CURVATURE, CURVATURE_STD = 0.1, 0.15
# Beyond these bounds of log kappa a power is a step at one of its ends.
STEEPEST = 1.5
# A game whose two ends differ by less than this share of its largest loss cannot be normalised.
FLAT = 1e-6


@dataclass(frozen=True)
class Game:
    """The small games, normalised, and the large game's two ends.

    normalized_CM: normalised utility of every coalition at every small size.
    loss_empty, loss_grand: the large model's loss with nobody and with all companies.
    unit: the loss that is one unit of the large game's normalised utility.
    end: normalised utility of the grand coalition: 1, but 0 where the large model learns nothing.
    steps_to_large: how many steps the large size lies beyond the largest small one. The unit is the
        ladder's last step, in log size.
    retention: the last step's slope over that of the step before, None with fewer than three sizes.
    step_reliability: share of the last step that is no seed noise, None where that is not known.
    fallback_reason: why only the affine law can be fitted, None where all can.
    """

    normalized_CM: NDArray[np.float64]
    loss_empty: float
    loss_grand: float
    unit: float
    end: float
    steps_to_large: float
    retention: float | None
    step_reliability: float | None
    fallback_reason: str | None

    @property
    def turns_back(self) -> bool:
        """Whether the ladder's last step clearly goes against the one before."""
        return self.retention is not None and self.retention < TURNING


@dataclass(frozen=True)
class Family:
    """One candidate law: a curve with parameters theta, which have independent normal priors.

    A user's law is a function from Game to Family.

    name, parameters: how `Law` names the law and its parameters.
    prior, prior_std: mean and standard deviation of each parameter.
    increasing: whether the curve increases strictly in the normalised utility of the largest small
        size, and depends on nothing else.
    curve: from theta to the large model's normalised utilities (C,). It must be 0 at the first
        coalition, the empty one, and 1 at the last, the grand one, for every theta.
    ladder: whether it continues the ladder's last step, by the first parameter.
    """

    name: str
    parameters: tuple[str, ...]
    prior: NDArray[np.float64]
    prior_std: NDArray[np.float64]
    increasing: bool
    curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ladder: bool = False


FamilyOf = Callable[[Game], Family]


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
        steps_to_large=float(step_M[-1] / step_M[-2]) if n_sizes > 1 else 1.0,
        retention=_retention(normalized_CM, step_M) if n_sizes > 2 else None,
        step_reliability=(
            _step_reliability(data.small_RCM)
            if n_sizes > 1 and data.small_RCM is not None
            else None
        ),
        fallback_reason=fallback_reason,
    )


def families(game: Game) -> dict[str, Family]:
    """All laws that the number of sizes allows, simplest first."""
    largest_C = game.normalized_CM[:, -1]
    nothing = np.zeros(0)
    affine = Family("affine", (), nothing, nothing, True, lambda theta: game.end * largest_C)
    if game.fallback_reason is not None:
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
    """Normalised utilities after the large loss is raised to the power kappa between its ends.

    normalized_C: normalised utilities before that; they may lie outside 0 to 1.
    log_kappa: 0 leaves them as they are.
    loss_empty, loss_grand: the two ends, in units of loss.
    """
    gain = loss_empty - loss_grand
    smaller = min(loss_empty, loss_grand)
    # A power needs positive losses. Where one is negative all are shifted, which makes the curve as
    # weak as at E0 = 0.
    floor = 0.0 if smaller > 0 else smaller - max(abs(gain), abs(smaller), 1.0)
    kappa = float(np.exp(np.clip(log_kappa, -STEEPEST, STEEPEST)))
    # Relative to the loss of the empty coalition, so that no power overflows. An extrapolated loss
    # may be below zero.
    relative_C = (loss_empty - floor - normalized_C * gain) / (loss_empty - floor)
    end = (loss_grand - floor) / (loss_empty - floor)
    if abs(1 - end) < 1e-9:
        return normalized_C
    relative_C = np.maximum(relative_C, 0.02 * min(1.0, end))
    curve_C: NDArray[np.float64] = (1 - relative_C**kappa) / (1 - end**kappa)
    return curve_C


def _step_reliability(small_RCM: NDArray[np.float64]) -> float:
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


def _retention(normalized_CM: NDArray[np.float64], step_M: NDArray[np.float64]) -> float:
    """The last step's slope over that of the step before, by least squares over coalitions."""
    before_C = (normalized_CM[:, -2] - normalized_CM[:, -3]) / step_M[-3]
    last_C = (normalized_CM[:, -1] - normalized_CM[:, -2]) / step_M[-2]
    moved = float(before_C @ before_C)
    return float(before_C @ last_C) / moved if moved > 0 else 0.0
