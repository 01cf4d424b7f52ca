"""How uncertain the values are. All intervals of values, and the order, follow from this.

The error of the values is the sum of independent parts. Two of them come with a covariance. The
third, by the draw of the validation set, is measured on the set itself, and where that has few rows
neither a variance nor the normal distribution can be trusted:

- The error divided by its estimated standard deviation follows Student's t, with the degrees of
  freedom of Welch (1947) and Satterthwaite (1946).
- A few rows may decide the loss. Hall's transformation (1992) says how far a mean of skew rows can
  be off on its worse side. Its own one-sided intervals hold less often than Student's where tails
  are heavy (docs/intervals.md), so ours reach as far to both sides.

Shapes: N companies, V validation examples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

EXACT = 1e-6  # skewness times deviations: below it the transformation is rounding


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The error of the values, by its independent causes, in units of utility."""

    sampling_NN: Floats  # covariance by the draw of the coalitions
    law_NN: Floats  # covariance by the law and the training seeds
    example_NV: Floats  # the value of each company for each validation example

    def variances(self) -> Floats:
        """(N,) variance of each value."""
        return np.array([error.deviation**2 for error in self._errors()])

    def half_widths(self, level: float) -> Floats:
        """(N,) how far the interval of each value reaches to either side.

        level: each interval holds its value with this probability.
        """
        return np.array([error.half_width(level) for error in self._errors()])

    def probability(self, i: int, j: int, difference: float) -> float:
        """That company i is really worth more than company j.

        difference: of their values, that of i minus that of j.
        """
        known = sum(
            float(each[i, i] + each[j, j] - 2 * each[i, j])
            for each in (self.sampling_NN, self.law_NN)
        )
        return _Error.of(known, self.example_NV[i] - self.example_NV[j]).probability(difference)

    def _errors(self) -> Iterator["_Error"]:
        """Of the value of each company."""
        for i, example_V in enumerate(self.example_NV):
            yield _Error.of(float(self.sampling_NN[i, i] + self.law_NN[i, i]), example_V)


@dataclass(frozen=True)
class _Error:
    """Of a value, or of the difference of two."""

    deviation: float  # standard deviation
    freedom: float  # degrees of freedom of its estimate
    skewness: float  # without its sign

    @classmethod
    def of(cls, known: float, example_V: Floats) -> Self:
        """known: variance of all parts but the validation set's, which is in the examples."""
        n_examples = len(example_V)
        apart_V = example_V - example_V.mean()
        measured = float((apart_V**2).sum()) / (n_examples - 1) / n_examples
        third = abs(float((apart_V**3).mean())) / n_examples**2
        variance = max(known, 0.0) + measured
        if measured == 0 or variance == 0:
            return cls(math.sqrt(variance), math.inf, 0.0)
        ratio, deviation = variance / measured, math.sqrt(variance)
        return cls(deviation, (n_examples - 1) * ratio * ratio, third / variance / deviation)

    def half_width(self, level: float) -> float:
        deviations = float(stdtrit(self.freedom, (1 + level) / 2))
        return self.deviation * _with_skewness(deviations, self.skewness)

    def probability(self, difference: float) -> float:
        """That the difference is really above 0: 1 minus p, where the interval of the level 1 - 2 p
        ends at 0.
        """
        if self.deviation == 0:
            return 0.5 if difference == 0 else float(difference > 0)
        deviations = _without_skewness(abs(difference) / self.deviation, self.skewness)
        return float(stdtr(self.freedom, math.copysign(deviations, difference)))


def _with_skewness(deviations: float, skewness: float) -> float:
    """How far an error with this skewness reaches on its longer side, in standard deviations, where
    one without reaches so far: the inverse of `_without_skewness`.
    """
    if skewness * deviations < EXACT:
        return deviations
    return 3 / skewness * (1 - math.cbrt(1 - skewness * (deviations + skewness / 6)))


def _without_skewness(deviations: float, skewness: float) -> float:
    """Hall's transformation of an error on its longer side; at least 0."""
    if skewness * deviations < EXACT:
        return deviations
    return max(0.0, (1 - (1 - skewness * deviations / 3) ** 3) / skewness - skewness / 6)
