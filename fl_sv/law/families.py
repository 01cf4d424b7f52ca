"""The laws: from the small models' losses, and a few large runs, to the large model's losses.

A law is written in normalised utilities (normalized.py), so it passes through the two ends that are
measured anyway. With u of the largest small size and u' of the one below it:

    affine     u: shares equal those of the small model.
    unscaled   the small losses as they are, where the two models' losses are comparable: only the
               grand coalition has the large model's.
    power      the straight line of log large loss on log small loss through all large runs
               (loss-to-loss; Brandfonbrener et al. 2024).
    averaged   u + c (e_large - e): e is the normalised utility of the average of the members' own
               models. The large average is known for every coalition once the singletons have
               trained. c falls from 1 for one member to 0 for all; the ladder's last step says how
               fast.
    ladder     u + k (u - u'): every coalition continues its own line in log size.

Each is simple, and none is right everywhere. `blend.py` weighs them by how well each predicts the
largest small size from those below. A user's law is a function from Game to Family.

Shapes: N companies, C coalitions, M small sizes, R seeds. theta are a law's parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.normalized import Game

Floats = NDArray[np.float64]

# A ladder continues its last step, each further one RETENTION times the one before. What the ladder
# itself shows of that counts half: with seed noise the retention of one step says little.
RETENTION = 0.7
# Ridge of the averaged law's c, as a share of the sum of squares, towards (N / s - 1) / (N - 1).
RIDGE = 1.0
# Losses of two models are comparable where those of the untrained ones differ by no more than this
# share of the large model's gain.
COMPARABLE = 0.25
# Exponents of a power law outside these bounds come from noise.
LEAST_EXPONENT, LARGEST_EXPONENT = 0.05, 20.0
# Utilities beyond this many times the gain are no prediction: where a gain is not flat, those of
# any table are below.
FARTHEST = 1e7


@dataclass(frozen=True)
class Family:
    """One law: a curve with parameters theta, which have independent normal priors.

    name, parameters: how `Law` names the law and its parameters.
    prior, prior_std: mean and standard deviation of each parameter.
    increasing: whether the curve increases strictly in the normalised utility of the largest small
        size, and depends on nothing else.
    curve: from theta to the large model's normalised utilities (C,). It must be 0 at the first
        coalition, the empty one, and 1 at the last, the grand one, for every theta.
    """

    name: str
    parameters: tuple[str, ...]
    prior: Floats
    prior_std: Floats
    increasing: bool
    curve: Callable[[Floats], Floats]


FamilyOf = Callable[[Game], Family]


@dataclass(frozen=True)
class Formula:
    """A built-in law, without parameters of its own.

    name: as configs name it.
    of: from the game to the normalised utilities (C,), None where it lacks what it needs.
    increasing: as in Family.
    needs: what `of` needs, for a message; empty where it needs nothing.
    """

    name: str
    of: Callable[[Game], Floats | None]
    needs: str = ""
    increasing: bool = False


def affine(game: Game) -> Floats:
    """The small model's shares."""
    curve_C: Floats = game.end * game.normalized_CM[:, -1]
    return curve_C


def unscaled(game: Game) -> Floats | None:
    """The small losses as they are, but for the grand coalition; None where the untrained models'
    losses differ, or one model gains and the other loses.
    """
    loss_C = game.small_CM[:, -1]
    gain = float(loss_C[0] - loss_C[-1])
    if abs(loss_C[0] - game.loss_empty) > COMPARABLE * abs(game.unit) or gain * game.unit <= 0:
        return None
    curve_C: Floats = (loss_C[0] - loss_C) / game.unit
    curve_C[-1] = 1.0
    return curve_C


def power(game: Game) -> Floats | None:
    """The line of log large loss on log small loss through all large runs; None with losses of
    zero or below.
    """
    loss_C = game.small_CM[:, -1]
    if min(float(loss_C.min()), float(game.run_losses.min())) <= 0:
        return None
    # Relative to the empty coalition, so that no power overflows.
    log_small_C = np.log(loss_C) - np.log(loss_C[0])
    log_small, log_large = log_small_C[game.run_rows], np.log(game.run_losses)
    centred = log_small - log_small.mean()
    slope = float(centred @ log_large) / max(float(centred @ centred), 1e-300)
    exponent = float(np.clip(slope, LEAST_EXPONENT, LARGEST_EXPONENT))
    line_C = log_large.mean() + exponent * (log_small_C - log_small.mean())
    # No measured run lies farther out than these bounds by more than the factor e.
    bounded_C = np.clip(line_C, log_large.min() - 1, log_large.max() + 1)
    curve_C: Floats = (game.loss_empty - np.exp(bounded_C)) / game.unit
    curve_C[0], curve_C[-1] = 0.0, 1.0
    return curve_C


def averaged(game: Game) -> Floats | None:
    """The small model's shares, and what the averages of the members' own models add at the large
    size; None where no large average is known.
    """
    if game.averaged is None or np.isnan(game.averaged[:, -2:]).all(axis=0).any():
        return None
    n_sizes = game.small_CM.shape[1]
    ends = game.small_CM[0], game.small_CM[-1]
    with_averages = (ends[0] - game.averaged[:, :n_sizes]) / (ends[0] - ends[1])
    large_C = (game.loss_empty - game.averaged[:, -1]) / game.unit
    added_C = large_C - with_averages[:, -1]
    share = _share_of_averages(game, with_averages)
    known = (game.size_C >= 2) & (game.size_C < game.n_companies) & np.isfinite(added_C)
    curve_C: Floats = game.normalized_CM[:, -1] + np.where(
        known, share[game.size_C] * np.where(known, added_C, 0.0), 0.0
    )
    return curve_C


def ladder(game: Game) -> Floats | None:
    """Every coalition continues its last step; None with a single size."""
    if game.normalized_CM.shape[1] < 2:
        return None
    shown = RETENTION if game.retention is None else game.retention
    retention = float(np.clip((shown + RETENTION) / 2, 0.0, 1.0))
    reliable = 1.0 if game.step_reliability is None else game.step_reliability
    slope = reliable * _sum_of_steps(retention, game.steps_to_large)
    largest_C = game.normalized_CM[:, -1]
    curve_C: Floats = largest_C + slope * (largest_C - game.normalized_CM[:, -2])
    return curve_C


FORMULAS = (
    Formula("affine", affine, increasing=True),
    Formula(
        "unscaled",
        unscaled,
        needs="untrained models with nearly the same loss, and two models that both gain",
    ),
    Formula("power", power, needs="losses above zero"),
    Formula("averaged", averaged, needs="large runs of singletons, and the averages' losses"),
    Formula("ladder", ladder, needs="two small sizes"),
)


def usable(curve_C: Floats) -> bool:
    """Whether the curve is finite, and in the range of a prediction."""
    return bool((np.abs(curve_C) <= FARTHEST).all())


def without_parameters(name: str, curve_C: Floats, *, increasing: bool = False) -> Family:
    """A law of this name whose curve is already computed."""
    nothing = np.zeros(0)
    return Family(name, (), nothing, nothing, increasing, lambda theta: curve_C)


def _share_of_averages(game: Game, with_averages: Floats) -> Floats:
    """(N+1,) by number of members: which share of what the average adds the joint model adds too.

    with_averages: normalised utilities of the averages, (C, M).
    """
    n = game.n_companies
    share = np.zeros(n + 1)
    for size in range(1, n):
        share[size] = (n / size - 1) / (n - 1)
        if size == 1 or game.normalized_CM.shape[1] < 2:
            continue
        of_size = game.size_C == size
        x = (with_averages[:, -1] - with_averages[:, -2])[of_size]
        y = (game.normalized_CM[:, -1] - game.normalized_CM[:, -2])[of_size]
        x, y = x[np.isfinite(x)], y[np.isfinite(x)]
        weight = RIDGE * float(x @ x)
        if weight > 0:
            share[size] = (float(x @ y) + weight * share[size]) / (float(x @ x) + weight)
    return share


def _sum_of_steps(retention: float, steps: float) -> float:
    """retention + retention**2 + ... over so many steps, which need not be a whole number."""
    if retention >= 1 - 1e-9:
        return steps
    return retention * float(1 - retention**steps) / (1 - retention)
