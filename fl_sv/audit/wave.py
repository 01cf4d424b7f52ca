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
class Together:
    """The updates of all from the model that all companies have trained together, in one round.

    updates: sketches (parties, numbers), the companies first, then the operator's parts.
    directions: sketches (directions, numbers) of what a mix of classes does (`fl_sv.audit.rows`).
    """

    updates: Floats
    directions: Floats


@dataclass(frozen=True)
class WaveWork:
    """What the companies did in a wave: their work by key of the model and company, the largest
    deviation of each company of which there are coalitions enough, and the updates of all by key
    and round, in the wave that holds the grand coalition.
    """

    work: Mapping[tuple[str, str], Work] = field(default_factory=dict)
    deviations: Mapping[str, Deviation] = field(default_factory=dict)
    together: Mapping[tuple[str, int], Together] = field(default_factory=dict)


NO_WORK = WaveWork()
