"""Defects put into a company's data on purpose, to see whether its pay answers to them.

They act on scaled rows. Their random numbers are keyed by the name of the company and the kind of
defect, so that adding a defect to one company changes nobody else's rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.data import Corruption, Duplicate, FeatureNoise, FreeRider, WrongLabels
from fl_sv.data.dataset import Dataset, Task
from fl_sv.streams import stream


def lineage(company: str, corruptions: Sequence[Corruption]) -> tuple[str, list[Corruption]]:
    """Whose clean rows `company` ends up with, and the defects that act on them on the way, in
    order.

    The defects take effect in the order of the config: a copy of a corrupted company is a copy of
    its corrupted rows."""
    holder, path = company, []
    for corruption in reversed(corruptions):
        if corruption.company == holder:
            path.append(corruption)
            if isinstance(corruption, Duplicate):
                holder = corruption.of
    return holder, path[::-1]


def corrupted(dataset: Dataset, corruption: Corruption, task: Task, seed: int) -> Dataset:
    """`dataset` with one defect put in. For a duplicate, `dataset` is the other company's."""
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
    """y with exactly `count` entries made wrong: another label, evenly drawn, or the target of
    another such row.
    """
    y, rows = y.copy(), rng.permutation(len(y))[:count]
    if task.kind == "regression":
        y[rows] = y[np.roll(rows, 1)]  # one cycle through all of them: no row keeps its own target
    else:
        y[rows] = (y[rows] + rng.integers(1, task.n_outputs, count)) % task.n_outputs
    return y


def _count(fraction: float, dataset: Dataset) -> int:
    return round(fraction * len(dataset))
