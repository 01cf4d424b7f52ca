"""Which law: the default until the large runs speak against it.

Leave-one-large-run-out with the one-standard-error rule. The default is the law that won on the brute-forced games:
ladder+power with two sizes or more; with one size power, or affine as long as no run can tell its curve. Another law
replaces it only when its mean squared error over the left-out runs is smaller by more than one standard error of the
difference. With fewer runs than companies such a standard error means little, and the default stands.

Shapes: A extra large runs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_sv.law.amplitude import amplitude_of
from fl_sv.law.families import Family, Game, families
from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import LeftOut, Prior, left_out, linearised


@dataclass(frozen=True)
class Selected:
    """The law, its linearised prior, and every law's errors on left-out runs (none with fewer runs than companies)."""

    family: Family
    prior: Prior
    left_out: dict[str, LeftOut]


def selected(game: Game, data: LawData, progress_A: NDArray[np.float64]) -> Selected:
    """The law for these runs."""
    laws = families(game)
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


def _default(laws: dict[str, Family], n_runs: int) -> str:
    if "ladder+power" in laws:
        return "ladder+power"
    return "power" if "power" in laws and n_runs else "affine"
