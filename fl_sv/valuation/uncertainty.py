"""How uncertain the values are. All intervals of values, and the order, follow from this.

The error of the values is the sum of independent parts. The variance of a part is itself an
estimate, and a poor one where it rests on few rows. So the error divided by its estimated standard
deviation follows Student's t, with the degrees of freedom of Welch (1947) and Satterthwaite (1946).

Shapes: N companies.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True, eq=False)
class Part:
    """A part of the values' error.

    covariance_NN: of the values, in squared units of utility.
    freedom: degrees of freedom of its estimate; without them it is taken to be known.
    """

    covariance_NN: NDArray[np.float64]
    freedom: float = math.inf


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The error of the values, by its independent causes."""

    sampling: Part  # the draw of the coalitions
    law: Part  # the law and the training seeds
    validation: Part  # the draw of the validation set

    def variances(self) -> NDArray[np.float64]:
        """(N,) variance of each value, in squared units of utility."""
        return np.array(sum(np.diag(part.covariance_NN) for part in self._parts))

    def half_widths(self, level: float) -> NDArray[np.float64]:
        """(N,) how far the interval of each value reaches to either side.

        level: each interval holds its value with this probability.
        """
        return np.array(
            [
                deviation * float(stdtrit(freedom, (1 + level) / 2))
                for deviation, freedom in map(self._deviation, np.eye(self._n_companies))
            ]
        )

    def probability(self, i: int, j: int, difference: float) -> float:
        """That company i is really worth more than company j.

        difference: of their values, that of i minus that of j.
        """
        contrast_N = np.zeros(self._n_companies)
        contrast_N[i], contrast_N[j] = 1.0, -1.0
        deviation, freedom = self._deviation(contrast_N)
        if deviation == 0:
            return 0.5 if difference == 0 else float(difference > 0)
        return float(stdtr(freedom, difference / deviation))

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.sampling, self.law, self.validation

    @property
    def _n_companies(self) -> int:
        return len(self.law.covariance_NN)

    def _deviation(self, contrast_N: NDArray[np.float64]) -> tuple[float, float]:
        """Standard deviation of the values' sum with these weights, and degrees of freedom."""
        variances = [
            max(float(contrast_N @ part.covariance_NN @ contrast_N), 0.0) for part in self._parts
        ]
        variance = math.fsum(variances)
        shares = [
            (one / variance) ** 2 / part.freedom
            for one, part in zip(variances, self._parts, strict=True)
            if variance > 0
        ]
        doubt = math.fsum(shares)
        return math.sqrt(variance), 1 / doubt if doubt > 0 else math.inf
