"""Defects that are put into a company's data on purpose, to see whether its payout falls.

They act on scaled rows. Their random numbers are keyed by the company's name and the kind of the
defect, so that a defect of one company changes no other company's rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.data import Corruption, Duplicate, FeatureNoise, FreeRider, WrongLabels
from fl_sv.data.dataset import IGNORED, Dataset, Task
from fl_sv.streams import stream


def lineage(company: str, corruptions: Sequence[Corruption]) -> tuple[str, list[Corruption]]:
    """The company whose clean rows `company` ends up with, and the defects that act on them.

    The defects take effect in the order of the config: a copy of a corrupted company is a copy of
    its corrupted rows.

    >>> copied = Duplicate(kind="duplicate", company="Beech", of="Ash")
    >>> lineage("Beech", [copied])[0]
    'Ash'
    """
    holder, path = company, []
    for corruption in reversed(corruptions):
        if corruption.company == holder:
            path.append(corruption)
            if isinstance(corruption, Duplicate):
                holder = corruption.of
    return holder, path[::-1]


def corrupted(dataset: Dataset, corruption: Corruption, task: Task, seed: int) -> Dataset:
    """A copy of `dataset` with one defect.

    dataset: the company's rows, scaled; for a duplicate the rows of the company that is copied.
    task: decides what a wrong label is.
    seed: of the run; the company's name and the kind of the defect complete the stream.
    """
    rng = stream(seed, "corruption", corruption.company, corruption.kind)
    match corruption:
        case WrongLabels():
            return Dataset(
                dataset.x, _wrong(dataset.y, _count(corruption.fraction, dataset), task, rng)
            )
        case FeatureNoise():
            noise = rng.normal(0.0, corruption.std, dataset.x.shape)
            return Dataset((dataset.x + noise).astype(np.float32), dataset.y)
        case Duplicate():
            chosen = rng.permutation(len(dataset))[: max(1, _count(corruption.fraction, dataset))]
            return dataset.take(np.sort(chosen))
        case FreeRider():
            return Dataset(
                dataset.x[rng.permutation(len(dataset))], dataset.y[rng.permutation(len(dataset))]
            )


def _wrong(y: NDArray[Any], count: int, task: Task, rng: np.random.Generator) -> NDArray[Any]:
    """A copy of y with exactly `count` wrong entries.

    A wrong label is drawn evenly from the other labels; a wrong target is that of another such row.
    """
    y, rows = y.copy(), rng.permutation(len(y))[:count]
    if task.kind == "regression":
        y[rows] = y[np.roll(rows, 1)]  # one cycle through all of them: no row keeps its own target
    else:
        wrong = (y[rows] + rng.integers(1, task.n_outputs, y[rows].shape)) % task.n_outputs
        y[rows] = np.where(y[rows] == IGNORED, IGNORED, wrong)
    return y


def _count(fraction: float, dataset: Dataset) -> int:
    return round(fraction * len(dataset))
