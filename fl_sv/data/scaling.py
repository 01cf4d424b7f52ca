"""The scaling of features and targets, measured on the operator's validation set.

The validation set is the only data that depend on no company. So the scaling reveals nothing about
another company, and a company that joins or leaves changes no other company's rows.

Shapes: (rows, features), the features of a row flattened.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.data.dataset import Dataset, Task
from fl_sv.data.encoding import Encoding
from fl_sv.data.mapped import blocks, column_groups, converted, empty_like_rows
from fl_sv.data.raw import RawRows, class_labels
from fl_sv.errors import InputError, listed

# The largest number that a model is given, either way: standard deviations of the validation set,
# or raw units where nothing is standardised. Outliers of real tables reach some hundreds. A wrong
# unit, or a spread that is an accident of the validation set, goes far beyond, and a single such
# row outweighs all others in every training.
BOUND = 1e4

# A remark says so where a company's numbers, once they are scaled, are larger than this and so many
# times as large as the validation set's in the same column.
FAR, TIMES_AS_FAR = 100.0, 10.0
AS_THERE = "give the column in the unit that it has there"

# A standard deviation below this part of the largest number is rounding. For float64 it leaves room
# for hundreds of operations; narrower types have less to give away.
ROUNDING = 1e-13
ROUNDING_STEPS = 8  # of a narrower type's own precision


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Everything that a company must know of the operator's data to prepare its own rows.

    A row becomes (x - mean) / scale, a regression target (y - target_mean) / target_scale.

    features: the names of the columns in the order in which models take them; empty without names.
    encoding: from the columns of a table to the features; None where the columns are the features.
    tokenizer: sha256 of the tokenizer.json of texts; None for other rows.
    mean, scale: one number for each flattened feature, or a single one for all. The unit is that of
        the raw column.
    """

    task: Task
    features: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)
    target_mean: float = 0.0
    target_scale: float = 1.0
    encoding: Encoding | None = None
    tokenizer: str | None = None

    @classmethod
    def measured(
        cls, raw: RawRows, task: Task, *, standardise: bool, encoding: Encoding | None = None
    ) -> Self:
        """The scaling by mean and standard deviation of the rows.

        Features are scaled with `standardise`, targets in a regression. A feature c that is
        constant but for rounding has no standard deviation: its scale is the larger of |c| and 1.

        Raises InputError when a column's numbers are too large to be squared, or all targets of a
        regression are equal but for rounding.
        """
        mean, scale = np.zeros(1), np.ones(1)
        if standardise:
            mean, scale = _moments(raw.x.reshape(len(raw), -1), raw.origin)
        target_mean, target_scale = np.zeros(1), np.ones(1)
        if task.kind == "regression":
            where, targets = f"{raw.origin}, {raw.target}", raw.y[:, None]
            if constant_columns(targets)[0]:
                raise InputError(
                    f"{where}: every target of the validation set is {raw.y[0]:g}, but for"
                    " rounding. No model can be scored by them; give rows with different targets."
                )
            target_mean, target_scale = _moments(targets, where)
        return cls(
            task=task,
            features=raw.features,
            mean=tuple(mean.tolist()),
            scale=tuple(scale.tolist()),
            target_mean=float(target_mean[0]),
            target_scale=float(target_scale[0]),
            encoding=encoding,
            tokenizer=raw.tokenizer,
        )

    def apply(self, raw: RawRows) -> Dataset:
        """The rows of a company or of the operator, scaled and in the order of the features.

        Raises InputError when the features are not those of the validation set, a label is no
        class, or a number lies beyond BOUND once it is scaled.
        """
        if self.encoding is not None and raw.unknown is None:
            raw = self.encoding.apply(raw)
        scaled = self.features_of(raw)
        if raw.y.shape[1:] != self.task.places:
            raise InputError(
                f"{raw.origin}: the targets of a row have shape {raw.y.shape[1:]}; in the"
                f" validation set they have {self.task.places}. Give every company the same places."
            )
        if self.task.kind != "regression":
            return Dataset(scaled, class_labels(raw, self.task.n_outputs)[0], raw.unknown)
        with np.errstate(over="ignore"):
            targets = (raw.y.astype(np.float64) - self.target_mean) / self.target_scale
        beyond = _Beyond()
        beyond.look(0, targets[:, None], raw.y[:, None])
        unit = "give another unit" if self.task.inputs else AS_THERE
        self._require_none(beyond, raw, lambda _: raw.target, unit)
        return Dataset(scaled, targets, raw.unknown)

    def features_of(
        self, raw: RawRows, advice: str = ""
    ) -> NDArray[np.float32] | NDArray[np.int64]:
        """The features of rows that have no table left, scaled and in the model's order.

        Other inputs than real numbers of one array stay as they are (`data.inputs`).

        advice: what to do about a number beyond BOUND; without it what to do before a run.

        Returns (rows, *input_shape). Raises InputError as `apply` does; the target may be unknown.
        """
        x = self._ordered(raw)
        if self.task.inputs:
            self._require_same_inputs(raw)
            return x if self.task.is_whole else converted(x, np.float32)
        scaled: NDArray[np.float32] = empty_like_rows(x, x.shape, np.float32)
        mean, scale, beyond = np.asarray(self.mean), np.asarray(self.scale), _Beyond()
        for block in blocks(x):
            with np.errstate(over="ignore"):
                given = _flat(x[block])
                flat = (given - mean) / scale
                beyond.look(block.start, flat, given)
                scaled[block] = flat.reshape(scaled[block].shape)
        if not advice:
            advice = f"{AS_THERE}, leave it out, or set `data.standardise: false`"
            if self.scale == (1.0,):  # nothing is standardised, or a single column is constant
                advice = "give the column another unit, or set `data.standardise: true`"
        self._require_none(beyond, raw, lambda i: self._feature_name(raw, i), advice)
        return scaled

    def _require_same_inputs(self, raw: RawRows) -> None:
        """Raises InputError unless a module is given for these rows what it is given elsewhere."""
        if raw.inputs != self.task.inputs:
            raise InputError(
                f"{raw.origin}: the inputs are {listed([str(each) for each in raw.inputs])}; in the"
                f" validation set they are {listed([str(each) for each in self.task.inputs])}. Give"
                " every company the same arrays."
            )
        if raw.tokenizer != self.tokenizer:
            raise InputError(
                f"{raw.origin}: the tokenizer is not that of the validation set: its sha256 is"
                f" {str(raw.tokenizer)[:16]}, and {str(self.tokenizer)[:16]} there. Give every"
                " company the same tokenizer.json."
            )

    def far_from(self, validation: Dataset, rows: Dataset) -> str:
        """The column in which a company's scaled numbers lie far beyond the validation set's.

        It is a part of a sentence, and empty where there is none. A column that hardly varies in
        the validation set is scaled by an accident of it, or not at all.
        """
        if self.task.inputs:
            return ""
        largest, known = self._largest(rows), self._largest(validation)
        far = np.flatnonzero((largest > FAR) & (largest > TIMES_AS_FAR * known))
        if not len(far):
            return ""
        j = int(far[largest[far].argmax()])
        n_features = math.prod(self.task.input_shape)
        name = self._name_of(j, self.features) if j < n_features else "the target"
        return f"{name} reaches {largest[j]:,.0f}, and {known[j]:,.3g} in the validation set"

    def _largest(self, rows: Dataset) -> NDArray[np.float64]:
        """The largest size of each scaled feature, and of the target in a regression."""
        largest = np.zeros(math.prod(self.task.input_shape))
        for block in blocks(rows.x):
            largest = np.maximum(largest, np.abs(_flat(rows.x[block])).max(axis=0))
        if self.task.kind == "regression":
            largest = np.append(largest, np.abs(rows.y).max())
        return largest

    def to_json(self) -> str:
        """One line of text that `from_json` reads back exactly."""
        fields = asdict(replace(self, encoding=None))
        del fields["encoding"]
        if self.tokenizer is None:
            del fields["tokenizer"]
        if self.encoding is not None:
            fields["encoding"] = self.encoding.content()
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The scaling in a text. Raises ValueError, KeyError or TypeError where it holds none."""
        fields = json.loads(text)
        task, encoding = fields["task"], fields.get("encoding")
        return cls(
            task=Task.from_json(json.dumps(task)),
            features=tuple(map(str, fields["features"])),
            mean=tuple(map(float, fields["mean"])),
            scale=tuple(map(float, fields["scale"])),
            target_mean=float(fields["target_mean"]),
            target_scale=float(fields["target_scale"]),
            encoding=None if encoding is None else Encoding.from_content(encoding),
            tokenizer=_digest(fields.get("tokenizer")),
        )

    def require_sound(self) -> None:
        """Raises ValueError unless these numbers can scale the features of the task."""
        n_features = math.prod(self.task.input_shape)
        is_sound = (
            len(self.features) in (0, n_features)
            and len(self.mean) == len(self.scale) in (1, n_features)
            and all(map(math.isfinite, (*self.mean, *self.scale)))
            and all(map(math.isfinite, (self.target_mean, self.target_scale)))
            and min(*self.scale, self.target_scale) > 0
            and (self.encoding is None or self.encoding.features == self.features)
        )
        if not is_sound:
            raise ValueError("the scaling does not fit the task that it names")

    def _require_none(
        self, beyond: "_Beyond", raw: RawRows, name_of: Callable[[int], str], advice: str
    ) -> None:
        """Raises InputError for the first number beyond BOUND. name_of: the name of a column."""
        if beyond.first is None:
            return
        row, column, given, becomes = beyond.first
        is_what = f"becomes {becomes:.3g} when it is scaled by the validation set"
        if given == becomes:
            is_what = "is too large for a model"
            if self.scale != (1.0,):
                is_what += "; in the validation set this column is constant, so nothing scales it"
        raise InputError(
            f"{raw.place(row)}, {name_of(column)}: {given!r} {is_what}; allowed is -{BOUND:,.0f} to"
            f" {BOUND:,.0f} (so many such numbers: {beyond.count:,}). Correct it, or {advice}."
        )

    def _feature_name(self, raw: RawRows, column: int) -> str:
        return self._name_of(column, self.features or raw.features)

    def _name_of(self, column: int, names: tuple[str, ...]) -> str:
        if names:
            return f"column {names[column]!r}"
        index = ", ".join(str(i) for i in np.unravel_index(column, self.task.input_shape))
        return f"feature [{index}]"

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


@dataclass
class _Beyond:
    """The numbers beyond BOUND: how many, and the first with its row, column and scaled number."""

    count: int = 0
    first: tuple[int, int, float, float] | None = None

    def look(self, start: int, scaled: NDArray[np.float64], given: NDArray[Any]) -> None:
        """Counts those of a block (rows, columns), of which `start` rows come before it."""
        found = np.argwhere(~(np.abs(scaled) <= BOUND))
        if len(found) and self.first is None:
            row, column = map(int, found[0])
            numbers = float(given[row, column]), float(scaled[row, column])
            self.first = (start + row, column, *numbers)
        self.count += len(found)


def _digest(text: Any) -> str | None:
    if not (text is None or (type(text) is str and re.fullmatch("[0-9a-f]{64}", text))):
        raise ValueError("the scaling names no sha256 of a tokenizer")
    return text


def _flat(x: NDArray[Any]) -> NDArray[np.float64]:
    return x.reshape(len(x), -1).astype(np.float64)


def constant_columns(columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Which columns of (rows, columns) real numbers are constant but for rounding.

    >>> constant_columns(np.array([[0.3, 1e9], [0.1 + 0.2, 1e9 + 1]])).tolist()
    [True, False]
    """
    numbers = columns.astype(np.float64)
    largest = np.abs(numbers).max(axis=0)
    relative = numbers / np.where(largest > 0, largest, 1.0)
    # The rounded mean of equal numbers need not equal them, so their deviation need not be 0.
    std = np.where(numbers.max(axis=0) == numbers.min(axis=0), 0.0, relative.std(axis=0))
    constant: NDArray[np.bool_] = std <= ROUNDING
    coarsest = ROUNDING_STEPS * float(np.finfo(np.float16).eps)
    for j in np.flatnonzero(~constant & (std <= coarsest)):
        constant[j] = std[j] <= _rounding(columns[:, j])
    return constant


def _rounding(column: NDArray[Any]) -> float:
    """How large rounding may be in a column, as a part of its largest number.

    A column of float64 that holds nothing but numbers of float32, as they are or as they are
    written, was computed in float32.
    """
    dtype = column.dtype
    if dtype.kind != "f" or (dtype.itemsize >= 8 and not _are_float32(column)):
        return ROUNDING
    eps = float(np.finfo(dtype if dtype.itemsize < 4 else np.float32).eps)
    exact = (column == np.floor(column)).all() and np.abs(column).max() < 2 / eps  # whole numbers
    return ROUNDING if exact else ROUNDING_STEPS * eps


def _are_float32(column: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        narrow = column.astype(np.float32)
    written = np.array([float(str(number)) for number in narrow])
    return bool(((narrow == column) | (written == column)).all())


def _moments(columns: NDArray[Any], where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and scale of each column of (rows, columns) real numbers."""
    found = [_moments_of(columns[:, group], where) for group in column_groups(columns)]
    mean, scale = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return mean, scale


def _moments_of(
    columns: NDArray[Any], where: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and scale of each of a few columns."""
    numbers, constant = columns.astype(np.float64), constant_columns(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = numbers.mean(axis=0), numbers.std(axis=0)
    mean = np.where(numbers.max(axis=0) == numbers.min(axis=0), numbers[0], mean)
    scale = np.where(constant, np.maximum(np.abs(mean), 1.0), std)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(
            f"{where}: the numbers are too large or too small to be standardised. Give them another"
            " unit."
        )
    return mean, scale
