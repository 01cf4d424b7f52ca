"""What the audit keeps of a wave: sketches of the companies' updates, as they are averaged anyway.

Shapes: N companies, C coalitions of the wave.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from fl_sv.audit.lines import MOST_PAIRED
from fl_sv.audit.sketch import BLOCK, WIDTH, sketch
from fl_sv.audit.wave import Deviation, Together, WaveWork, Work
from fl_sv.audit.work import deviation, log_lengths
from fl_sv.game.coalitions import grand
from strategies.spool import reader

Floats = NDArray[np.float64]
# The updates of the operator's parts and the directions of a mix of classes, from the key of a
# model, the round, and the model from which all start in it.
Parts = Callable[[str, int, NDArray[np.floating]], tuple[Floats, Floats]]

# Rounds in which updates from the model of all companies are compared. Most of the first is common
# to all.
COMPARED = range(2, 5)


class Watch:
    """Watches one wave of small models, from its first round to its last.

    companies: in the order of the config. coalitions: of the wave. weight_CN: what each member
    weighs in each of them. initial: the untrained models (1, parameters) by key. parts: the
    operator's, where companies' rows are compared.
    """

    def __init__(
        self,
        companies: Sequence[str],
        coalitions: Sequence[int],
        weight_CN: Floats,
        initial: Mapping[str, NDArray[np.floating]],
        parts: Parts | None = None,
    ) -> None:
        self._companies, self._coalitions = companies, coalitions
        self._share_CN = weight_CN / weight_CN.sum(axis=1, keepdims=True)
        # Sketches of the models before the round, by key.
        self._start = {key: sketch(stack) for key, stack in initial.items()}
        self._first: dict[tuple[str, str], Floats] = {}
        self._lengths: dict[tuple[str, str], list[float]] = {}
        self._deviations: dict[str, Deviation] = {}
        everybody = grand(len(companies))
        self._grand = coalitions.index(everybody) if everybody in coalitions else None
        self._parts = parts
        # What the operator's parts do in the round that is next, by key.
        self._of_parts: dict[str, tuple[Floats, Floats]] = {}
        self._together: dict[tuple[str, int], Together] = {}

    def see(self, key: str, replies: Mapping[str, Array], mean: Array) -> None:
        """A round of the models of a key.

        replies: of each company a stack of its coalitions' models; in the first round one model.
        mean: the stack of all coalitions.
        """
        start, together = self._start[key], dict[str, Floats]()
        for company, reply in replies.items():
            rows = np.flatnonzero(self._share_CN[:, self._companies.index(company)])
            update = _sketch(reply) - (start if len(start) == 1 else start[rows])
            if (key, company) not in self._first:
                paired = len(self._companies) <= MOST_PAIRED
                self._first[key, company] = update[0] if paired else np.empty(0)
            self._lengths.setdefault((key, company), []).append(log_lengths(update))
            if key in self._of_parts:
                together[company] = update[np.searchsorted(rows, self._grand)]
            if apart := deviation(self._share_CN[rows], update) if len(update) > 1 else None:
                found = Deviation(apart[0], self._coalitions[rows[apart[1]]])
                before = self._deviations.get(company, found)
                self._deviations[company] = max(before, found, key=lambda each: each.figure)
        self._start[key] = _sketch(mean)
        self._compare(key, together, mean)

    def _compare(self, key: str, together: Mapping[str, Floats], mean: Array) -> None:
        """Keeps the updates from the model of all, and trains the parts from the next one.

        together: of each company, where the parts were trained in this round.
        """
        done = len(self._lengths[key, self._companies[0]])
        if key in self._of_parts:
            of_parts, directions = self._of_parts.pop(key)
            own = [together[company] for company in self._companies]
            self._together[key, done] = Together(np.concatenate([own, of_parts]), directions)
        if self._grand is not None and self._parts and done + 1 in COMPARED:
            n_params = mean.shape[1]
            model = reader(mean)(self._grand * n_params, (self._grand + 1) * n_params)
            self._of_parts[key] = self._parts(key, done + 1, model)

    def found(self) -> WaveWork:
        """What the wave showed."""
        work = {
            place: Work(first, np.array(self._lengths[place]))
            for place, first in self._first.items()
        }
        return WaveWork(work, self._deviations, self._together)


def _sketch(stack: Array) -> Floats:
    """The sketches of a reply, of which a spooled one is read in parts."""
    n_rows, n_params = stack.shape
    read, size = reader(stack), max(1, BLOCK // n_params)
    parts = [
        sketch(read(first * n_params, min(first + size, n_rows) * n_params).reshape(-1, n_params))
        for first in range(0, n_rows, size)
    ]
    return np.concatenate(parts) if parts else np.empty((0, WIDTH))
