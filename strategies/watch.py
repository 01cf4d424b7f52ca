"""What the audit keeps of a wave: sketches of the companies' updates, as they are averaged anyway.

Shapes: N companies, C coalitions of the wave.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from fl_sv.audit.lines import MOST_PAIRED
from fl_sv.audit.sketch import BLOCK, WIDTH, sketch
from fl_sv.audit.wave import Deviation, WaveWork, Work
from fl_sv.audit.work import deviation, log_lengths
from strategies.spool import reader

Floats = NDArray[np.float64]


class Watch:
    """Watches one wave of small models, from its first round to its last.

    companies: in the order of the config. coalitions: of the wave. weight_CN: what each member
    weighs in each of them. initial: the untrained models (1, parameters) by key.
    """

    def __init__(
        self,
        companies: Sequence[str],
        coalitions: Sequence[int],
        weight_CN: Floats,
        initial: Mapping[str, NDArray[np.floating]],
    ) -> None:
        self._companies, self._coalitions = companies, coalitions
        self._share_CN = weight_CN / weight_CN.sum(axis=1, keepdims=True)
        # Sketches of the models before the round, by key.
        self._start = {key: sketch(stack) for key, stack in initial.items()}
        self._first: dict[tuple[str, str], Floats] = {}
        self._lengths: dict[tuple[str, str], list[float]] = {}
        self._deviations: dict[str, Deviation] = {}

    def see(self, key: str, replies: Mapping[str, Array], mean: Array) -> None:
        """A round of the models of a key.

        replies: of each company a stack of its coalitions' models; in the first round one model.
        mean: the stack of all coalitions.
        """
        start = self._start[key]
        for company, reply in replies.items():
            rows = np.flatnonzero(self._share_CN[:, self._companies.index(company)])
            update = _sketch(reply) - (start if len(start) == 1 else start[rows])
            if (key, company) not in self._first:
                paired = len(self._companies) <= MOST_PAIRED
                self._first[key, company] = update[0] if paired else np.empty(0)
            self._lengths.setdefault((key, company), []).append(log_lengths(update))
            if apart := deviation(self._share_CN[rows], update) if len(update) > 1 else None:
                found = Deviation(apart[0], self._coalitions[rows[apart[1]]])
                before = self._deviations.get(company, found)
                self._deviations[company] = max(before, found, key=lambda each: each.figure)
        self._start[key] = _sketch(mean)

    def found(self) -> WaveWork:
        """What the wave showed."""
        work = {
            place: Work(first, np.array(self._lengths[place]))
            for place, first in self._first.items()
        }
        return WaveWork(work, self._deviations)


def _sketch(stack: Array) -> Floats:
    """The sketches of a reply, of which a spooled one is read in parts."""
    n_rows, n_params = stack.shape
    read, size = reader(stack), max(1, BLOCK // n_params)
    parts = [
        sketch(read(first * n_params, min(first + size, n_rows) * n_params).reshape(-1, n_params))
        for first in range(0, n_rows, size)
    ]
    return np.concatenate(parts) if parts else np.empty((0, WIDTH))
