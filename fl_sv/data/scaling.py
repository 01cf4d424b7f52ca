"""The scaling of features and targets, measured on the operator's validation set.

The validation set is the one piece of data that depends on no company: scaling by it tells no
company anything about another, and adding or removing a company changes nobody's rows. Shapes: n
rows, F numbers in a row."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.data.dataset import Dataset, Task
from fl_sv.data.raw import Table, class_labels
from fl_sv.errors import InputError, listed


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """All that a company must know of the operator's data to prepare its own.

    mean, scale: one number for each of the F flattened features, or a single one for all. A row is
    turned into (x - mean) / scale, a regression target into (y - target_mean) / target_scale.
    `features` are the names of the columns in the order in which the models see them, empty when
    they have none."""

    task: Task
    features: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    target_mean: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def measured(cls, table: Table, task: Task, *, standardise: bool) -> Self:
        """The scaling by mean and standard deviation of `table`: of its features if wanted, of its
        targets if real.

        A constant column gets scale 1. Raises InputError when a column's numbers are too large to
        be squared."""
        mean, scale = (
            _moments(_flat(table.x), table.origin) if standardise else (np.zeros(1), np.ones(1))
        )
        target_mean, target_scale = np.zeros(1), np.ones(1)
        if task.kind == "regression":
            target_mean, target_scale = _moments(
                table.y[:, None], f"{table.origin}, {table.target}"
            )
        return cls(
            task=task,
            features=table.features,
            mean=tuple(mean.tolist()),
            scale=tuple(scale.tolist()),
            target_mean=float(target_mean[0]),
            target_scale=float(target_scale[0]),
        )

    def apply(self, table: Table) -> Dataset:
        """The rows of `table` as training sees them.

        Raises InputError when the features are not those of the validation set, a label is no
        class, or a number is too large once scaled."""
        x = self._ordered(table)
        with np.errstate(over="ignore"):
            flat = ((_flat(x) - np.asarray(self.mean)) / np.asarray(self.scale)).astype(np.float32)
            targets = (table.y.astype(np.float64) - self.target_mean) / self.target_scale
        bad = np.flatnonzero(~(np.isfinite(flat).all(axis=1) & np.isfinite(targets)))
        if len(bad):
            raise InputError(
                f"{table.place(int(bad[0]))}: a number is too large for float32 after scaling by"
                f" the validation set ({len(bad)} such rows). Correct the row, or give the column"
                " another unit."
            )
        x = flat.reshape(x.shape)
        if self.task.kind == "regression":
            return Dataset(x, targets)
        return Dataset(x, class_labels(table, self.task.n_outputs)[0])

    def to_json(self) -> str:
        """One line of text that `from_json` reads back exactly."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(
            task=Task.from_json(json.dumps(fields["task"])),
            features=tuple(fields["features"]),
            mean=tuple(fields["mean"]),
            scale=tuple(fields["scale"]),
            target_mean=fields["target_mean"],
            target_scale=fields["target_scale"],
        )

    def _ordered(self, table: Table) -> NDArray[Any]:
        """x (n, *input_shape) with its columns in the validation set's order."""
        if self.features and table.features and table.features != self.features:
            lacking = [name for name in self.features if name not in table.features]
            foreign = [name for name in table.features if name not in self.features]
            if lacking or foreign:
                raise InputError(
                    f"{table.origin}: the columns are not those of the validation set; missing: "
                    f"{listed(lacking) or 'none'}; unknown: {listed(foreign) or 'none'}. "
                    "Give every file the same columns."
                )
            return table.x[:, [table.features.index(name) for name in self.features]]
        if table.x.shape[1:] != self.task.input_shape:
            raise InputError(
                f"{table.origin}: a row has shape {table.x.shape[1:]}; in the validation set it has"
                f" {self.task.input_shape}. Give every company the same features."
            )
        return table.x


def _flat(x: NDArray[Any]) -> NDArray[np.float64]:
    return x.reshape(len(x), -1).astype(np.float64)


def _moments(flat: NDArray[Any], where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (F,) of the columns of `flat` (n, F)."""
    flat = flat.astype(np.float64)
    # The rounded mean of a constant column need not equal the constant: its deviation would be
    # noise, not zero.
    constant = flat.max(axis=0) == flat.min(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = flat.mean(axis=0), flat.std(axis=0)
    mean, scale = np.where(constant, flat[0], mean), np.where(constant, 1.0, scale)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(
            f"{where}: the numbers are too large or too small to be standardised. Give them another"
            " unit."
        )
    return mean, scale
