"""The scaling of features and targets, measured on the operator's validation set.

The validation set is the only data that depend on no company. So the scaling reveals nothing about
another company, and a company that joins or leaves changes no other company's rows.

Shapes: (rows, features), the features of a row flattened.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.data.dataset import Dataset, Task
from fl_sv.data.raw import RawRows, class_labels
from fl_sv.errors import InputError, listed


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Everything that a company must know of the operator's data to prepare its own rows.

    A row becomes (x - mean) / scale, a regression target (y - target_mean) / target_scale.

    features: the names of the columns in the order in which models take them; empty without names.
    mean, scale: one number for each flattened feature, or a single one for all. The unit is that of
        the raw column.
    """

    task: Task
    features: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    target_mean: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def measured(cls, raw: RawRows, task: Task, *, standardise: bool) -> Self:
        """The scaling by mean and standard deviation of the rows.

        Features are scaled with `standardise`, targets in a regression. A constant column gets
        scale 1. Raises InputError when a column's numbers are too large to be squared.
        """
        mean, scale = (
            _moments(_flat(raw.x), raw.origin) if standardise else (np.zeros(1), np.ones(1))
        )
        target_mean, target_scale = np.zeros(1), np.ones(1)
        if task.kind == "regression":
            target_mean, target_scale = _moments(raw.y[:, None], f"{raw.origin}, {raw.target}")
        return cls(
            task=task,
            features=raw.features,
            mean=tuple(mean.tolist()),
            scale=tuple(scale.tolist()),
            target_mean=float(target_mean[0]),
            target_scale=float(target_scale[0]),
        )

    def apply(self, raw: RawRows) -> Dataset:
        """The rows of a company or of the operator, scaled and in the order of the features.

        Raises InputError when the features are not those of the validation set, a label is no
        class, or a number is too large once it is scaled.
        """
        x = self._ordered(raw)
        with np.errstate(over="ignore"):
            flat = ((_flat(x) - np.asarray(self.mean)) / np.asarray(self.scale)).astype(np.float32)
            targets = (raw.y.astype(np.float64) - self.target_mean) / self.target_scale
        bad = np.flatnonzero(~(np.isfinite(flat).all(axis=1) & np.isfinite(targets)))
        if len(bad):
            raise InputError(
                f"{raw.place(int(bad[0]))}: a number is too large for float32 after scaling by"
                f" the validation set ({len(bad)} such rows). Correct the row, or give the column"
                " another unit."
            )
        x = flat.reshape(x.shape)
        if self.task.kind == "regression":
            return Dataset(x, targets)
        return Dataset(x, class_labels(raw, self.task.n_outputs)[0])

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

    def _ordered(self, raw: RawRows) -> NDArray[Any]:
        """x (rows, *input_shape) with its columns in the validation set's order."""
        if self.features and raw.features and raw.features != self.features:
            lacking = [name for name in self.features if name not in raw.features]
            foreign = [name for name in raw.features if name not in self.features]
            if lacking or foreign:
                raise InputError(
                    f"{raw.origin}: the columns are not those of the validation set; missing: "
                    f"{listed(lacking) or 'none'}; unknown: {listed(foreign) or 'none'}. "
                    "Give every file the same columns."
                )
            return raw.x[:, [raw.features.index(name) for name in self.features]]
        if raw.x.shape[1:] != self.task.input_shape:
            raise InputError(
                f"{raw.origin}: a row has shape {raw.x.shape[1:]}; in the validation set it has"
                f" {self.task.input_shape}. Give every company the same features."
            )
        return raw.x


def _flat(x: NDArray[Any]) -> NDArray[np.float64]:
    return x.reshape(len(x), -1).astype(np.float64)


def _moments(flat: NDArray[Any], where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (features,) of the columns of `flat` (rows, features)."""
    flat = flat.astype(np.float64)
    # The rounded mean of a constant column need not equal the constant. Its standard deviation
    # would then be rounding noise instead of zero.
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
