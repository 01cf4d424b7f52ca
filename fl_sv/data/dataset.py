"""What training works on: a task, and rows that are finite, scaled and of one shape.

Shapes: K classes. `input_shape` is the shape of one row of features, such as (64,) or (1, 28, 28).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is predicted from what.

    n_outputs: the K classes of a classification, 1 for a regression.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    n_outputs: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The task in a message. Raises ValueError, KeyError or TypeError unless it is one."""
        fields = json.loads(text)
        kind, n_outputs = fields["kind"], fields["n_outputs"]
        input_shape = tuple(fields["input_shape"])
        sizes = (*input_shape, n_outputs)
        if kind not in get_args(Kind) or any(type(n) is not int or n < 1 for n in sizes):
            raise ValueError(f"{text[:100]!r} is no task")
        return cls(kind=kind, input_shape=input_shape, n_outputs=n_outputs)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of one holder, a company or the operator.

    x: float32 (rows, *input_shape), scaled.
    y: int64 (rows,), class labels 0..K-1; or float64 (rows,), standardised targets.
    unknown: (rows,) how many cells of a row held a word that no feature stands for; None where the
        rows are of no table with words.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64] | NDArray[np.float64]
    unknown: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> "Dataset":
        """A copy of the given rows, in that order."""
        unknown = None if self.unknown is None else self.unknown[rows]
        return Dataset(self.x[rows], self.y[rows], unknown)

    def with_rows(self, other: "Dataset") -> "Dataset":
        """These rows, and then those of another holder."""
        return Dataset(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]))


def fingerprint(dataset: Dataset) -> str:
    """sha256 of the rows as a multiset, as hex digits.

    Two companies that hold the same rows in any order have the same fingerprint.
    """
    # Adding 0.0 turns -0.0 into 0.0: equal numbers must not differ by their bytes.
    x = np.ascontiguousarray(dataset.x.reshape(len(dataset), -1) + np.float32(0.0))
    y = np.ascontiguousarray(dataset.y + dataset.y.dtype.type(0))
    rows = sorted(
        hashlib.sha256(features.tobytes() + target.tobytes()).digest()
        for features, target in zip(x, y, strict=True)
    )
    head = f"{dataset.x.shape[1:]} {dataset.y.dtype}".encode()
    return hashlib.sha256(head + b"".join(rows)).hexdigest()
