"""What training works on: a task, and rows that are finite, scaled and of one shape.

Shapes: K classes. `input_shape` is the shape of one row of features, such as (64,) or (1, 28, 28).
"""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from fl_sv.config.base import REFERENCE
from fl_sv.data.inputs import Input
from fl_sv.data.mapped import blocks, taken

IGNORED = -100  # the label of a place that counts for nothing, as torch has it

Kind = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted from what.

    input_shape: of a row as it is kept.
    n_outputs: the K classes of a classification, 1 for a regression.
    places: the shape of a row's targets, such as (tokens,); empty where a row has one target.
    inputs: what a module is given for a row; empty for the row itself, real numbers.
    loss: the user's own loss of a row, `package.module:function`; without it the usual one.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    n_outputs: int
    places: tuple[int, ...] = ()
    inputs: tuple[Input, ...] = ()
    loss: str | None = None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of a row's outputs: K at every place. With a loss of the user's own it may be another."""
        return (*self.places, self.n_outputs)

    @property
    def outputs_of_a_row(self) -> int:
        """Numbers that a model gives for a row: K at every place."""
        return math.prod(self.output_shape)

    @property
    def is_whole(self) -> bool:
        """Whether all numbers of a row are whole and stay so."""
        return bool(self.inputs) and all(each.whole for each in self.inputs)

    @property
    def shape_for_factory(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """The `input_shape` that a user's factory gets: by name, where the inputs have names."""
        if self.inputs and self.inputs[0].name:
            return {each.name: each.shape for each in self.inputs}
        return self.input_shape

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The task in a message. Raises ValueError, KeyError or TypeError unless it is one."""
        fields = json.loads(text)
        kind, n_outputs = fields["kind"], fields["n_outputs"]
        input_shape = tuple(fields["input_shape"])
        places = tuple(fields["places"])
        inputs = tuple(map(Input.from_fields, fields["inputs"]))
        loss = fields["loss"]
        sizes = (*input_shape, n_outputs, *places)
        if inputs and sum(each.size for each in inputs) != math.prod(input_shape):
            raise ValueError(f"{text[:100]!r} is no task: its inputs do not fill a row")
        if not (loss is None or (type(loss) is str and re.fullmatch(REFERENCE, loss))):
            raise ValueError(f"{text[:100]!r} is no task: its loss is no package.module:function")
        if kind not in get_args(Kind) or any(type(n) is not int or n < 1 for n in sizes):
            raise ValueError(f"{text[:100]!r} is no task")
        return cls(
            kind=kind,
            input_shape=input_shape,
            n_outputs=n_outputs,
            places=places,
            inputs=inputs,
            loss=loss,
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of one holder, a company or the operator.

    x: float32 (rows, *input_shape), scaled; int64 where the task is whole. It may be mapped.
    y: int64 (rows, *places), class labels 0..K-1, IGNORED at places that do not count; or float64
        (rows,), standardised targets.
    unknown: (rows,) how many cells of a row held a word that no feature stands for; None where the
        rows are of no table with words.
    """

    x: NDArray[np.float32] | NDArray[np.int64]
    y: NDArray[np.int64] | NDArray[np.float64]
    unknown: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> "Dataset":
        """A copy of the given rows, in that order."""
        unknown = None if self.unknown is None else self.unknown[rows]
        return Dataset(taken(self.x, rows), self.y[rows], unknown)

    def with_rows(self, other: "Dataset") -> "Dataset":
        """These rows, and then those of another holder."""
        return Dataset(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]))


def labels_in(y: NDArray[Any]) -> NDArray[Any]:
    """The class labels that occur, ascending, without IGNORED."""
    present: NDArray[Any] = np.unique(y[y != IGNORED])
    return present


def fingerprint(dataset: Dataset) -> str:
    """sha256 of the rows as a multiset, as hex digits.

    Two companies that hold the same rows in any order have the same fingerprint.
    """
    digests = np.empty(len(dataset), dtype="S32")
    for block in blocks(dataset.x):
        # Adding 0.0 turns -0.0 into 0.0: equal numbers must not differ by their bytes.
        flat = dataset.x[block].reshape(len(dataset.y[block]), -1)
        x = np.ascontiguousarray(flat + np.float32(0.0))
        y = np.ascontiguousarray(dataset.y[block] + dataset.y.dtype.type(0))
        digests[block] = [
            hashlib.sha256(features.tobytes() + target.tobytes()).digest()
            for features, target in zip(x, y, strict=True)
        ]
    digests.sort()
    whole = hashlib.sha256(f"{dataset.x.shape[1:]} {dataset.y.dtype}".encode())
    whole.update(digests.data)
    return whole.hexdigest()
