"""What the audit keeps of a wave of small models."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """A company's work on one model and seed in one wave.

    first: the sketch of its first update. lengths: of each round the median over its coalitions of
    the logarithm of the update's length, NaN where one is nothing.
    """

    first: Floats
    lengths: Floats


@dataclass(frozen=True)
class Deviation:
    """The update of a company that its other coalitions predict worst.

    figure: the residual over the median update's length (`fl_sv.audit.work`).
    """

    figure: float
    coalition: int


@dataclass(frozen=True)
class WaveWork:
    """What the companies did in a wave: their work by key of the model and company, and the largest
    deviation of each company of which there are coalitions enough.
    """

    work: Mapping[tuple[str, str], Work] = field(default_factory=dict)
    deviations: Mapping[str, Deviation] = field(default_factory=dict)


NO_WORK = WaveWork()
