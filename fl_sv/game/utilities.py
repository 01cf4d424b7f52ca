"""The utility table: the loss of every planned training, and how it is written and read.

A training is that of one model on one coalition with one seed.

Shapes: N companies, C coalitions, M small sizes, R seeds.
"""

import csv
import math
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed
from fl_sv.files import AnyFile
from fl_sv.game.coalitions import ascending, member_names, mirrored
from fl_sv.game.csv import Lines, read_table
from fl_sv.game.scores import Column, Key, Score, Scores
from fl_sv.numbers import decimal_number, whole_number

COLUMNS = ("coalition", "members", "model", "seed", "loss", "accuracy", "status")
DONE, PLANNED = "done", "planned"

# The planned coalitions of each model and seed, ascending.
Planned = Mapping[tuple[str, int], Sequence[int]]


@dataclass(frozen=True)
class UtilityTable:
    """All planned trainings with the scores of those that are done.

    models: ascending in size, the large one last.
    planned: the planned coalitions of each model and seed, ascending, in the order of the file.
    scores: kept as `Scores`; any other mapping is converted.
    """

    companies: tuple[str, ...]
    models: tuple[str, ...]
    planned: Planned
    scores: Scores

    def __post_init__(self) -> None:
        if not isinstance(self.scores, Scores):
            object.__setattr__(self, "scores", Scores.of(self.scores.values()))

    @property
    def large(self) -> str:
        """The name of the large model."""
        return self.models[-1]

    @property
    def largest_small(self) -> str:
        """The name of the largest small model."""
        return self.models[-2]

    def mean_losses(self, model: str) -> dict[int, float]:
        """Mean loss over seeds of every planned coalition of `model`.

        Raises InputError as `loss_by_seed` does.
        """
        mean_C = self.mean_loss(model)
        return dict(zip(self.coalitions(model), mean_C.tolist(), strict=True))

    def mean_loss(self, model: str) -> NDArray[np.float64]:
        """(C,) mean loss over seeds of `model`, coalitions ascending.

        Raises InputError as `loss_by_seed` does.
        """
        return mean_over_seeds(self.loss_by_seed(model))

    def loss_by_seed(self, model: str) -> NDArray[np.float64]:
        """(R, C) losses of `model`, coalitions ascending.

        Raises InputError when a planned training is not done: a missing score is never a number.
        """
        self.require_complete(model)
        coalitions = self.coalitions(model)
        columns = [self.scores.columns[model, seed].of(coalitions) for seed in self.seeds(model)]
        return np.array([column.loss_C for column in columns])

    def seeds(self, model: str) -> list[int]:
        """The seeds planned for `model`, ascending."""
        return sorted(seed for name, seed in self.planned if name == model)

    def coalitions(self, model: str) -> Sequence[int]:
        """The coalitions planned for `model`, ascending.

        Raises InputError when they are not the same for all seeds.
        """
        first, *others = [self.planned[model, seed] for seed in self.seeds(model)] or [()]
        if any(coalitions != first for coalitions in others):
            raise InputError(
                f"The seeds of {model} are planned on different coalitions; a run trains each seed"
                " on the same ones."
            )
        return first

    def require_complete(self, model: str) -> None:
        """Raises InputError when a planned training of `model` is not done."""
        missing = [
            f"{member_names(c, self.companies) or 'nobody'} (seed {seed})"
            for seed in self.seeds(model)
            for c in self._missing(model, seed)
        ]
        if missing:
            raise InputError(
                f"{len(missing)} trainings of {model} have no utility: {listed(missing, 5)}. Values"
                " need all of them. Continue with `fl-sv run CONFIG --out DIR --resume`."
            )

    def only(self, coalitions: Mapping[str, Collection[int]]) -> Self:
        """The table in which each model is planned on no other coalitions than these."""
        planned = {
            (model, seed): _common(before, coalitions[model])
            for (model, seed), before in self.planned.items()
        }
        return replace(self, planned=planned, scores=self.scores.only(planned))

    def in_reverse_order(self) -> Self:
        """The same table with the companies in reverse order."""
        n_companies = len(self.companies)

        @cache
        def order_of(coalitions: Sequence[int]) -> tuple[Sequence[int], NDArray[np.intp]]:
            """The coalitions as they are called now, and the order that makes them ascending."""
            renamed = mirrored(coalitions, n_companies)
            return ascending(renamed.tolist()), np.argsort(renamed)

        columns = {}
        for key, column in self.scores.columns.items():
            renamed, order = order_of(column.coalitions)
            columns[key] = Column(renamed, column.loss_C[order], column.accuracy_C[order])
        planned = {key: order_of(coalitions)[0] for key, coalitions in self.planned.items()}
        return replace(
            self, companies=self.companies[::-1], planned=planned, scores=Scores(columns)
        )

    def _missing(self, model: str, seed: int) -> list[int]:
        """The planned coalitions without a score, ascending."""
        planned, column = self.planned[model, seed], self.scores.columns.get((model, seed))
        if column is None:
            return [*planned]
        if column.coalitions == planned:
            return []
        return [coalition for coalition in planned if column.row(coalition) is None]


def _common(planned: Sequence[int], wanted: Collection[int]) -> Sequence[int]:
    """The planned coalitions that are wanted."""
    if planned == wanted:
        return planned
    wanted = wanted if isinstance(wanted, range) else frozenset(wanted)
    return ascending(coalition for coalition in planned if coalition in wanted)


def mean_over_seeds(loss_RC: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,) means of the losses of each coalition, from sums without rounding."""
    means = (math.fsum(losses) / len(losses) for losses in zip(*loss_RC, strict=True))
    return np.fromiter(means, np.float64, loss_RC.shape[1])


def planned_rows(
    models: Sequence[str], seeds: Mapping[str, int], coalitions: Mapping[str, Iterable[int]]
) -> Planned:
    """The planned coalitions of each model and seed, in the order of models, then seed.

    models: ascending in size. seeds: how many each model has. coalitions: those of each model.
    """
    ordered = {model: ascending(coalitions[model]) for model in models}
    return {(model, seed): ordered[model] for model in models for seed in range(seeds[model])}


def utilities_csv(table: UtilityTable) -> Iterator[str]:
    """The lines of `utilities.csv`, each with its end. There may be millions.

    Floats are Python's shortest text that reads back exactly.
    """
    writer = csv.writer(Lines(), lineterminator="\n")
    yield writer.writerow(COLUMNS)
    for (model, seed), coalitions in table.planned.items():
        column = table.scores.columns.get((model, seed))
        for coalition in coalitions:
            row = None if column is None else column.row(coalition)
            loss = accuracy = ""
            if column is not None and row is not None:
                loss, accuracy = _text(column.loss_C[row]), _text(column.accuracy_C[row])
            members = member_names(coalition, table.companies)
            status = PLANNED if row is None else DONE
            yield writer.writerow([coalition, members, model, seed, loss, accuracy, status])


def _text(number: np.float64) -> str:
    return "" if np.isnan(number) else repr(float(number))


def read_utilities(path: AnyFile, companies: Sequence[str]) -> UtilityTable:
    """The table of a `utilities.csv`: the inverse of `utilities_csv`.

    companies: of the run, in the order of the bits.

    Raises InputError that names the line and what is wrong in it.
    """
    planned: dict[tuple[str, int], Sequence[int]] = {}
    columns: dict[tuple[str, int], Column] = {}
    rows = ((*_read_row(row, where, companies), where) for row, where in read_table(path, COLUMNS))
    for (model, seed), group in groupby(rows, key=lambda row: row[0][:2]):
        coalitions: list[int] = []
        done: list[int] = []
        losses, accuracies = array("d"), array("d")
        for key, score, where in group:
            coalition = key[2]
            if (model, seed) in planned or (coalitions and coalition <= coalitions[-1]):
                raise _out_of_order(where, key, planned.get((model, seed), coalitions))
            coalitions.append(coalition)
            if score is not None:
                done.append(coalition)
                losses.append(score.loss)
                accuracies.append(math.nan if score.accuracy is None else score.accuracy)
        planned[model, seed] = ascending(coalitions)
        columns[model, seed] = Column(ascending(done), np.array(losses), np.array(accuracies))
    models = tuple(dict.fromkeys(model for model, _ in planned))
    return UtilityTable(tuple(companies), models, planned, Scores(columns))


def _out_of_order(where: str, key: Key, before: Sequence[int]) -> InputError:
    model, seed, coalition = key
    if coalition in before:
        return InputError(
            f"{where}: coalition {coalition} of {model}, seed {seed}, is listed twice."
        )
    return InputError(
        f"{where}: coalition {coalition} of {model}, seed {seed}, is not where it belongs: the rows"
        " are sorted by model, seed and coalition."
    )


def _read_row(
    row: dict[str, str], where: str, companies: Sequence[str]
) -> tuple[tuple[str, int, int], Score | None]:
    try:
        coalition, seed = whole_number(row["coalition"]), whole_number(row["seed"])
        loss, accuracy = (
            decimal_number(row[column]) if row[column] else None for column in ("loss", "accuracy")
        )
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from None
    if not 0 <= coalition < 1 << len(companies):
        raise InputError(
            f"{where}: there is no coalition {coalition} of {len(companies)} companies."
        )
    if row["members"] != member_names(coalition, companies):
        raise InputError(
            f"{where}: members are {row['members']!r}; coalition {coalition} is"
            f" {member_names(coalition, companies)!r}."
        )
    if row["status"] not in (DONE, PLANNED):
        raise InputError(
            f"{where}: the status is {row['status']!r}; it must be {DONE} or {PLANNED}."
        )
    key = (row["model"], seed, coalition)
    if row["status"] == PLANNED:
        if row["loss"] or row["accuracy"]:
            raise InputError(
                f"{where}: the status is {PLANNED}, but there is a loss or an accuracy."
            )
        return key, None
    if loss is None or not math.isfinite(loss):
        raise InputError(f"{where}: the status is {DONE}, but the loss is {row['loss']!r}.")
    if accuracy is not None and not 0 <= accuracy <= 1:
        raise InputError(
            f"{where}: the accuracy is {row['accuracy']!r}; it must be a share from 0 to 1."
        )
    return key, Score(coalition, row["model"], seed, loss, accuracy)
