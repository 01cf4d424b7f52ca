"""The law before the large runs are weighed: its mean, and what is uncertain about it.

`auto` blends the laws of families.py. The weight of each is in inverse proportion to its mean
square error in the rehearsal (Bates and Granger 1969), the noise of the rehearsal's truth included.
Where the laws differ, the blend is uncertain in just that direction, and the large runs decide
between them. How far the large game may lie from the blend follows from how far the rehearsed game
lay from it.

Shapes: C coalitions, M small sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.law.custom import own_law
from fl_sv.law.families import (
    FARTHEST,
    FORMULAS,
    Family,
    FamilyOf,
    affine,
    usable,
    without_parameters,
)
from fl_sv.law.inputs import LawData
from fl_sv.law.normalized import Game
from fl_sv.law.rehearsal import Rehearsal, rehearsal_of

Floats = NDArray[np.float64]

AUTO = "auto"
# Standard deviation of the large game around a law, without a rehearsal and at the least.
AMPLITUDE, LEAST_AMPLITUDE = 0.08, 0.02
# Adds to mean square errors, so that no weight is infinite.
TINY = 1e-6
# A law that goes so many times farther than the small models' utilities takes no part in a blend.
FARTHER = 100.0


@dataclass(frozen=True)
class Candidate:
    """One law of a blend: its curve in earnest, and its misses in the rehearsal if there is one."""

    name: str
    curve_C: Floats
    misses: Floats | None


@dataclass(frozen=True)
class Blend:
    """The law as the small models give it.

    family: the law, with its parameters; without parameters for a blend.
    between: (C, columns) the directions in which a blend is uncertain: how the laws differ from
        their mean, times the roots of their weights, and how far a ladder goes on; no columns for a
        single law.
    amplitude: standard deviation of the large game's deviation from it, for a singleton.
    weights: of each blended law, by name; empty for a single law.
    """

    family: Family
    between: Floats
    amplitude: float
    weights: dict[str, float]


def blended(game: Game, data: LawData, requested: str | FamilyOf = AUTO) -> Blend:
    """The law for this data.

    requested: "auto", a law's name, or a user's function.

    Raises InputError for an unknown name, a law that lacks its data, and a function that returns no
    law.
    """
    if game.fallback_reason is not None:
        law = without_parameters("affine", affine(game), increasing=True)
        return _single(law, None, game)
    rehearsal = rehearsal_of(data)
    if requested == AUTO:
        return _blend(_candidates(game, rehearsal), game, rehearsal)
    if isinstance(requested, str):
        law, rehearsed = _named(requested, game)
    else:
        law, rehearsed = own_law(requested, game), _rehearsed_own(requested)
    misses = None if rehearsal is None else rehearsal.misses_of(rehearsed)
    return _single(law, misses, game)


def _single(law: Family, misses: Floats | None, game: Game) -> Blend:
    nothing = np.zeros((len(game.size_C), 0))
    return Blend(law, between=nothing, amplitude=_amplitude(misses, game), weights={})


def _candidates(game: Game, rehearsal: Rehearsal | None) -> list[Candidate]:
    """The laws that can be blended: with a rehearsal those that took part in it.

    The ladder needs three sizes for that. Without a rehearsal nothing says how good a law is. Then
    only the affine law remains, and those that rest on large runs.
    """
    found = []
    farthest = FARTHER * float(np.abs(affine(game)).max())
    for formula in FORMULAS:
        curve_C = formula.of(game)
        if curve_C is None or not np.abs(curve_C).max() <= farthest:
            continue
        if rehearsal is None:
            rests_on_runs = formula.name == "averaged" or (
                formula.name == "power" and len(game.run_rows) > 2
            )
            if rests_on_runs or formula.name == "affine":
                found.append(Candidate(formula.name, curve_C, None))
            continue
        misses = rehearsal.misses_of(formula.of)
        if misses is not None:
            found.append(Candidate(formula.name, curve_C, misses))
    return found


def _blend(laws: list[Candidate], game: Game, rehearsal: Rehearsal | None) -> Blend:
    curves = np.stack([law.curve_C for law in laws], axis=1)
    weights, missed = np.full(len(laws), 1 / len(laws)), None
    if rehearsal is not None:
        misses = np.stack([law.misses for law in laws if law.misses is not None], axis=1)
        worth = 1 / (np.mean(misses**2, axis=0) + rehearsal.noise + TINY)
        weights = worth / worth.sum()
        missed = misses @ weights
    mean_C: Floats = curves @ weights
    name = laws[0].name if len(laws) == 1 else "blend"
    increasing = len(laws) == 1 and laws[0].name == "affine"
    between = (curves - mean_C[:, None]) * np.sqrt(weights)
    names = [law.name for law in laws]
    if "ladder" in names and len(laws) > 1:
        # How far a ladder goes on is as uncertain as the distance itself.
        ladder = names.index("ladder")
        further_C = curves[:, ladder] - affine(game)
        between = np.column_stack([between, further_C * np.sqrt(weights[ladder])])
    return Blend(
        without_parameters(name, mean_C, increasing=increasing),
        between,
        _amplitude(missed, game),
        dict(zip(names, weights.tolist(), strict=True)),
    )


def _named(name: str, game: Game) -> tuple[Family, Callable[[Game], Floats | None]]:
    by_name = {formula.name: formula for formula in FORMULAS}
    if name not in by_name:
        raise InputError(
            f"family is {name!r}; allowed are {AUTO}, {', '.join(by_name)}, or a function from Game"
            " to Family"
        )
    formula = by_name[name]
    curve_C = formula.of(game)
    if curve_C is None:
        raise InputError(f"family is {name!r}; this law needs {formula.needs}")
    if not usable(curve_C):
        raise InputError(
            f"family is {name!r}; on these losses it predicts gains beyond {FARTHEST:g} times the"
            " large model's"
        )
    return without_parameters(name, curve_C, increasing=formula.increasing), formula.of


def _rehearsed_own(make: FamilyOf) -> Callable[[Game], Floats | None]:
    """A user's law at its prior; None where it needs more sizes than the rehearsal has."""

    def curve_of(game: Game) -> Floats | None:
        try:
            law = own_law(make, game)
            return law.curve(law.prior)
        except InputError:
            return None

    return curve_of


def _amplitude(misses: Floats | None, game: Game) -> float:
    """The standard deviation of the large game around a law.

    A game wanders from a law with every step of the ladder, so the square of the rehearsal's misses
    grows with the number of steps.
    """
    if misses is None:
        return AMPLITUDE
    wandered = np.sqrt(np.mean(misses**2) * game.steps_to_large)
    return max(float(wandered), LEAST_AMPLITUDE)
