"""The choice of the law: the default, unless the large runs clearly prefer another.

The choice is by leave-one-large-run-out with the one-standard-error rule. The default is the law
that won on the brute-forced games: ladder+power with two sizes or more; with one size power, or
affine where no run determines its curve. Another law replaces it only when its mean squared error
over the left-out runs is smaller by more than one standard error of the difference. With fewer runs
than companies such a standard error means little, and the default stays. Where the ladder turns
back (D3), laws that continue it are no candidates. A law that the user names is always taken.

Shapes: C coalitions. "runs" are the large runs besides the empty and the grand coalition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError
from fl_sv.law.amplitude import amplitude_of
from fl_sv.law.custom import missed_below, own_law
from fl_sv.law.families import Family, FamilyOf, Game, families
from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import LeftOut, Prior, left_out, linearised


@dataclass(frozen=True)
class Selected:
    """The chosen law."""

    family: Family
    prior: Prior
    left_out: dict[str, LeftOut]  # of every candidate by name; empty with fewer runs than companies


AUTO = "auto"


def selected(
    game: Game,
    data: LawData,
    normalized_runs: NDArray[np.float64],
    requested: str | FamilyOf = AUTO,
) -> Selected:
    """The law for these large runs.

    normalized_runs: normalised utilities of the large runs.
    requested: "auto", or the only candidate, by name or as a function of the game.

    Raises InputError for an unknown name and for a function that returns no law.
    """
    laws = _candidates(game, requested)
    missed_C = (
        None
        if isinstance(requested, str) or game.fallback_reason
        else missed_below(requested, data)
    )
    priors = {
        name: linearised(law, data, normalized_runs, amplitude_of(law, game, data, missed_C))
        for name, law in laws.items()
    }
    default = _default(laws, len(normalized_runs))
    left_out_by_law = {}
    chosen = default
    if len(normalized_runs) >= max(2, data.n_companies):
        left_out_by_law = {
            name: left_out(prior, data, normalized_runs) for name, prior in priors.items()
        }
        squares = {name: left.errors**2 for name, left in left_out_by_law.items()}
        best = min(squares, key=lambda name: float(squares[name].mean()))
        # The one-standard-error rule, on the paired differences of the squared errors.
        gains = squares[default] - squares[best]
        if gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)):
            chosen = best
    return Selected(laws[chosen], priors[chosen], left_out_by_law)


def _candidates(game: Game, requested: str | FamilyOf) -> dict[str, Family]:
    laws = families(game)
    if game.fallback_reason is not None:
        return laws
    if not isinstance(requested, str):
        law = own_law(requested, game)
        return {law.name: law}
    if requested == AUTO:
        return {name: law for name, law in laws.items() if not (law.ladder and game.turns_back)}
    if requested not in laws:
        raise InputError(
            f"family is {requested!r}; allowed with these small sizes are {AUTO},"
            f" {', '.join(laws)}, or a function from Game to Family"
        )
    return {requested: laws[requested]}


def _default(laws: dict[str, Family], n_runs: int) -> str:
    if len(laws) == 1:
        return next(iter(laws))
    if "ladder+power" in laws:
        return "ladder+power"
    return "power" if n_runs else "affine"
