"""Every large run, predicted from all the others: leave-one-out without refitting.

With the inverse covariance K of the runs and their residuals r from the law, run i lies
(K r)_i / K_ii off what all others predict of it, with the variance 1 / K_ii (Sundararajan and
Keerthi 2001).

Shapes: "runs" are the large runs besides the empty and the grand coalition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.special import ndtr

from fl_sv.law.inputs import LawData
from fl_sv.law.posterior import RunsOnGrid, averaging
from fl_sv.law.prior import Prior, covariance_of_runs, factored

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """How well each large run is predicted from all the others."""

    errors: Floats  # (runs,) measured minus predicted normalised utility
    stds: Floats  # (runs,) standard deviations that the law expects of them


def left_out(prior: Prior, data: LawData, normalized_runs: Floats, caution: float) -> LeftOut:
    """Each run given all others, at the prior's scales.

    If the scales were fitted to the runs, they would grow with every run that breaks the law, and
    no run would be an outlier.

    caution: factor of the deviations' standard deviations.
    """
    total = covariance_of_runs(prior, data, caution)
    inverse = cho_solve(factored(total), np.eye(len(normalized_runs)))
    precisions = np.diag(inverse)
    return LeftOut(
        inverse @ (normalized_runs - prior.mean_C[data.large_run_rows]) / precisions,
        1 / np.sqrt(precisions),
    )


@dataclass(frozen=True)
class LeftOutMixture:
    """What all other runs say of each run, at the scales that these others show.

    Where the other companies' own models go their own way, one more that does is no surprise. A run
    has a normal distribution at each point of the grid of scales.

    weights: (points, runs), sum 1 over points.
    means, stds: (points, runs) of the normalised utility.
    """

    weights: Floats
    means: Floats
    stds: Floats

    def expected(self) -> Floats:
        """(runs,) expected normalised utilities."""
        expected: Floats = np.sum(self.weights * self.means, axis=0)
        return expected

    def chance_of_less(self, bounds: Floats) -> Floats:
        """(runs,) probabilities that a run measures its bound or less. bounds: (runs,)."""
        chances: Floats = np.sum(self.weights * ndtr((bounds - self.means) / self.stds), axis=0)
        return chances


def left_out_on_grid(runs: RunsOnGrid) -> LeftOutMixture:
    """Each run given all others, at every point of the grid."""
    precisions = np.diagonal(runs.inverses, axis1=1, axis2=2)  # (points, runs)
    errors, stds = runs.run_weights / precisions, 1 / np.sqrt(precisions)
    # The evidence of the other runs is that of all without the density of the one left out.
    of_others = runs.log_evidence[:, None] + (errors / stds) ** 2 / 2 + np.log(stds)
    weights = averaging(of_others, runs.grid.weights[:, None])
    return LeftOutMixture(weights, runs.normalized - errors, stds)
