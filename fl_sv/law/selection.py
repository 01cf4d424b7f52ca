"""Which law: the default until the large runs speak against it.

Leave-one-large-run-out with the one-standard-error rule. The default is the law that won on the brute-forced games:
ladder+power with two sizes or more; with one size power, or affine as long as no run can tell its curve. Another law
replaces it only when its mean squared error over the left-out runs is smaller by more than one standard error of the
difference. With fewer runs than companies such a standard error means little, and the default stands. Where the ladder
turns back (D3), laws that go on with it are no candidates. Whoever asks for a law gets it.

Shapes: A extra large runs, C coalitions, P parameters of a law.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.law.amplitude import amplitude_of
from fl_sv.law.families import Family, FamilyOf, Game, families
from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import LeftOut, Prior, left_out, linearised


@dataclass(frozen=True)
class Selected:
    """The law, its linearised prior, and every law's errors on left-out runs (none with fewer runs than companies)."""

    family: Family
    prior: Prior
    left_out: dict[str, LeftOut]


# How far from 0 and 1 the ends of a law of one's own may lie.
ENDS = 1e-9


def selected(
    game: Game, data: LawData, progress_A: NDArray[np.float64], asked: str | FamilyOf | None = None
) -> Selected:
    """The law for these runs. asked: the only candidate, by name or as a function of the game."""
    laws = _candidates(game, asked)
    priors = {name: linearised(law, data, progress_A, amplitude_of(law, game, data)) for name, law in laws.items()}
    default = _default(laws, len(progress_A))
    left_out_by_law = {}
    chosen = default
    if len(progress_A) >= max(2, data.n_companies):
        left_out_by_law = {name: left_out(prior, data, progress_A) for name, prior in priors.items()}
        square_A = {name: left.error_A**2 for name, left in left_out_by_law.items()}
        best = min(square_A, key=lambda name: float(square_A[name].mean()))
        gain_A = square_A[default] - square_A[best]
        if gain_A.mean() > gain_A.std(ddof=1) / np.sqrt(len(gain_A)):
            chosen = best
    return Selected(laws[chosen], priors[chosen], left_out_by_law)


def _candidates(game: Game, asked: str | FamilyOf | None) -> dict[str, Family]:
    laws = families(game)
    if game.fault is not None:
        return laws
    if asked is None:
        return {name: law for name, law in laws.items() if law.increasing or not game.turns_back}
    if not isinstance(asked, str):
        law = _own(asked, game)
    elif asked in laws:
        law = laws[asked]
    else:
        raise InputError(
            f"family is {asked!r}; allowed here are {', '.join(laws)} (the ladders need two small sizes), or a "
            "function from Game to Family"
        )
    return {law.name: law}


def _own(make: FamilyOf, game: Game) -> Family:
    """A user's law, checked where its prior puts it."""
    said = f"the law {getattr(make, '__qualname__', make)}"
    try:
        law = make(game)
        curve_C = np.asarray(law.curve(law.prior_P), dtype=np.float64) if isinstance(law, Family) else None
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{said} raised {type(error).__name__}: {error}") from error
    if curve_C is None:
        raise InputError(f"{said} returned a {type(law).__name__}; it must return a fl_sv.law.Family")
    if not law.prior_P.shape == law.prior_std_P.shape == (len(law.parameters),):
        raise InputError(
            f"{said} has {len(law.parameters)} parameters; prior_P and prior_std_P need one number for each"
        )
    if curve_C.shape != game.progress_CM[:, 0].shape or not np.isfinite(curve_C).all():
        raise InputError(
            f"{said}: its curve has the shape {curve_C.shape}, or numbers that are not finite; needed is one finite "
            f"number for each of the {len(game.progress_CM)} coalitions"
        )
    if max(abs(curve_C[0]), abs(curve_C[-1] - 1)) > ENDS:
        raise InputError(
            f"{said}: its curve is {curve_C[0]:g} with nobody and {curve_C[-1]:g} with all companies; not 0 and 1"
        )
    return law


def _default(laws: dict[str, Family], n_runs: int) -> str:
    if len(laws) == 1:
        return next(iter(laws))
    if "ladder+power" in laws:
        return "ladder+power"
    return "power" if n_runs else "affine"
