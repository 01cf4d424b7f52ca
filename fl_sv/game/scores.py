"""The scores of trained models, in columns: a million of them take megabytes, not gigabytes.

Shapes: C coalitions of a model and seed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.game.coalitions import ascending, place_of

Key = tuple[str, int, int]  # (model, seed, coalition): which training it is


@dataclass(frozen=True, slots=True)
class Score:
    """Loss and accuracy of one trained model on the operator's validation set."""

    coalition: int
    model: str
    seed: int
    loss: float  # mean over the validation set: nats, or squared standardised units
    accuracy: float | None  # share classified correctly; None for regression

    @property
    def key(self) -> Key:
        """(model, seed, coalition): which training it is."""
        return self.model, self.seed, self.coalition


@dataclass(frozen=True, eq=False)
class Column:
    """The scores of one model and seed.

    coalitions: ascending, without repeats.
    loss_C: their losses. accuracy_C: their accuracies, NaN where there is none.
    """

    coalitions: Sequence[int]
    loss_C: NDArray[np.float64]
    accuracy_C: NDArray[np.float64]

    def row(self, coalition: int) -> int | None:
        """The row of a coalition; None when it has no score."""
        return place_of(coalition, self.coalitions)

    def of(self, coalitions: Sequence[int]) -> Self:
        """The scores of those of the coalitions that have one. coalitions: ascending."""
        if coalitions == self.coalitions:
            return self
        rows = [row for row in map(self.row, coalitions) if row is not None]
        kept = ascending(self.coalitions[row] for row in rows)
        return type(self)(kept, self.loss_C[rows], self.accuracy_C[rows])


class Scores(Mapping[Key, Score]):
    """Scores by (model, seed, coalition), in the order of `columns`.

    columns: by model and seed.
    """

    def __init__(self, columns: Mapping[tuple[str, int], Column]) -> None:
        self.columns = dict(columns)

    @classmethod
    def of(cls, scores: Iterable[Score]) -> Self:
        """The scores in any order; of several with one key the last counts."""
        found: dict[tuple[str, int], dict[int, Score]] = {}
        for score in scores:
            found.setdefault((score.model, score.seed), {})[score.coalition] = score
        return cls({key: _column(by_coalition) for key, by_coalition in found.items()})

    def only(self, coalitions: Mapping[tuple[str, int], Sequence[int]]) -> Self:
        """The scores of these coalitions of each model and seed, each ascending."""
        return type(self)(
            {key: self.columns[key].of(c) for key, c in coalitions.items() if key in self.columns}
        )

    def __getitem__(self, key: Key) -> Score:
        model, seed, coalition = key
        column = self.columns[model, seed]
        row = column.row(coalition)
        if row is None:
            raise KeyError(key)
        return _score(model, seed, column, row)

    def __iter__(self) -> Iterator[Key]:
        for (model, seed), column in self.columns.items():
            for coalition in column.coalitions:
                yield model, seed, coalition

    def __len__(self) -> int:
        return sum(len(column.coalitions) for column in self.columns.values())


def _column(by_coalition: Mapping[int, Score]) -> Column:
    ordered = [by_coalition[coalition] for coalition in sorted(by_coalition)]
    return Column(
        ascending(by_coalition),
        np.array([score.loss for score in ordered]),
        np.array([score.accuracy for score in ordered], dtype=np.float64),  # None is NaN
    )


def _score(model: str, seed: int, column: Column, row: int) -> Score:
    loss, accuracy = float(column.loss_C[row]), float(column.accuracy_C[row])
    known = None if np.isnan(accuracy) else accuracy
    return Score(column.coalitions[row], model, seed, loss, known)
