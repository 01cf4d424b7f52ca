"""The utility table: the loss of every planned training, and how it is written and read.

A training is that of one model on one coalition with one seed.

Shapes: N companies, C coalitions, M small sizes, R seeds.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed
from fl_sv.game.coalitions import member_names
from fl_sv.game.csv import read_table
from fl_sv.numbers import decimal_number, whole_number

COLUMNS = ("coalition", "members", "model", "seed", "loss", "accuracy", "status")
DONE, PLANNED = "done", "planned"


@dataclass(frozen=True, slots=True)
class Score:
    """Loss and accuracy of one trained model on the operator's validation set."""

    coalition: int
    model: str
    seed: int
    loss: float  # mean over the validation set: nats, or squared standardised units
    accuracy: float | None  # share classified correctly; None for regression

    @property
    def key(self) -> tuple[str, int, int]:
        """(model, seed, coalition): which training it is."""
        return self.model, self.seed, self.coalition


@dataclass(frozen=True)
class UtilityTable:
    """All planned trainings with the scores of those that are done."""

    companies: tuple[str, ...]
    models: tuple[str, ...]  # ascending in size, the large one last
    planned: tuple[tuple[str, int, int], ...]  # (model, seed, coalition), in file order
    scores: dict[tuple[str, int, int], Score]

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

        Raises InputError when a planned training is not done: a missing score is never a number.
        """
        self.require_complete(model)
        losses: dict[int, list[float]] = {}
        for name, seed, coalition in self.planned:
            if name == model:
                losses.setdefault(coalition, []).append(self.scores[name, seed, coalition].loss)
        return {
            coalition: math.fsum(values) / len(values)
            for coalition, values in sorted(losses.items())
        }

    def loss_by_seed(self, model: str) -> NDArray[np.float64]:
        """(R, C) losses of `model`, coalitions ascending.

        Raises InputError when a planned training is not done.
        """
        self.require_complete(model)
        seeds = sorted({seed for name, seed, _ in self.planned if name == model})
        coalitions = self.coalitions(model)
        return np.array([[self.scores[model, seed, c].loss for c in coalitions] for seed in seeds])

    def coalitions(self, model: str) -> list[int]:
        """The coalitions planned for `model`, ascending."""
        return sorted({coalition for name, _, coalition in self.planned if name == model})

    def require_complete(self, model: str) -> None:
        """Raises InputError when a planned training of `model` is not done."""
        missing = [key for key in self.planned if key[0] == model and key not in self.scores]
        if missing:
            named = [
                f"{member_names(c, self.companies) or 'nobody'} (seed {seed})"
                for _, seed, c in missing
            ]
            raise InputError(
                f"{len(missing)} trainings of {model} have no utility: {listed(named, 5)}. Values"
                " need all of them. Continue with `fl-sv run CONFIG --out DIR --resume`."
            )


def planned_rows(
    models: Sequence[str], seeds: dict[str, int], coalitions: dict[str, Iterable[int]]
) -> tuple[tuple[str, int, int], ...]:
    """Every planned (model, seed, coalition): in the order of models, then seed, then coalition.

    models: ascending in size. seeds: how many each model has. coalitions: those of each model.
    """
    return tuple(
        (model, seed, coalition)
        for model in models
        for seed in range(seeds[model])
        for coalition in sorted(coalitions[model])
    )


def utilities_csv(table: UtilityTable) -> str:
    """The text of `utilities.csv`.

    Floats are Python's shortest text that reads back exactly.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for model, seed, coalition in table.planned:
        score = table.scores.get((model, seed, coalition))
        loss = accuracy = ""
        if score is not None:
            loss, accuracy = (
                repr(score.loss),
                "" if score.accuracy is None else repr(score.accuracy),
            )
        members = member_names(coalition, table.companies)
        writer.writerow(
            [coalition, members, model, seed, loss, accuracy, PLANNED if score is None else DONE]
        )
    return text.getvalue()


def read_utilities(path: Path, companies: Sequence[str]) -> UtilityTable:
    """The table of a `utilities.csv`: the inverse of `utilities_csv`.

    companies: of the run, in the order of the bits.

    Raises InputError that names the line and what is wrong in it.
    """
    planned: dict[tuple[str, int, int], Score | None] = {}
    for row, where in read_table(path, COLUMNS):
        key, score = _read_row(row, where, companies)
        if key in planned:
            model, seed, coalition = key
            raise InputError(
                f"{where}: coalition {coalition} of {model}, seed {seed}, is listed twice."
            )
        planned[key] = score
    models = tuple(dict.fromkeys(model for model, _, _ in planned))
    scores = {key: score for key, score in planned.items() if score is not None}
    return UtilityTable(tuple(companies), models, tuple(planned), scores)


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
