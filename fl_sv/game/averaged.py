"""Losses of averages of the companies' own models: the content of averaged.csv.

A company's own model is the one that was trained on its rows alone, the model of its singleton. The
operator holds all of them. For a coalition, the outputs of its members' own models are averaged,
weighted by their numbers of examples; the loss of this average costs an evaluation and no training.

Averaged outputs ask nothing of the models but an answer to each row. Averaged parameters would need
one architecture, and mean something only where the trainings stayed close to each other.

Shapes: C coalitions of the design, M small sizes.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError, listed
from fl_sv.files import AnyFile
from fl_sv.game.coalitions import ascending, coalition_name, mirrored, place_of
from fl_sv.game.csv import Lines, read_table
from fl_sv.game.utilities import UtilityTable
from fl_sv.numbers import decimal_number, whole_number

COLUMNS = ("coalition", "model", "loss")


@dataclass(frozen=True, eq=False)
class AveragedLosses:
    """The losses of the averages of the members' own models, as far as they are known.

    models: ascending in size, the large one last.
    coalitions: those of the design, ascending.
    loss_CM: (C, M+1) mean over seeds, a column for each model; NaN where it is unknown. The empty
        coalition has the loss of the untrained model, a singleton its measured one.
    """

    models: tuple[str, ...]
    coalitions: Sequence[int]
    loss_CM: NDArray[np.float64]

    def of(self, coalitions: Sequence[int]) -> NDArray[np.float64]:
        """(C, M+1) losses of some of the coalitions; NaN where one is unknown."""
        rows = [place_of(coalition, self.coalitions) for coalition in coalitions]
        unknown = np.array([row is None for row in rows])
        found_CM = self.loss_CM[[row or 0 for row in rows]]
        found_CM[unknown] = math.nan
        return found_CM

    def in_reverse_order(self, n_companies: int) -> Self:
        """The same losses with the companies in reverse order."""
        renamed = mirrored(self.coalitions, n_companies)
        return replace(
            self,
            coalitions=ascending(renamed.tolist()),
            loss_CM=self.loss_CM[np.argsort(renamed)],
        )


def measured_averages(table: UtilityTable) -> tuple[AveragedLosses, NDArray[np.bool_]]:
    """The averages of no model or one, whose losses are in the table, and which others are known.

    Known are the coalitions of the design whose members' own models were all trained. Without any
    large run of a singleton the large model has none, not even for nobody.

    Returns the losses, NaN for two members and more, and known_CM, (C, M+1).
    """
    design = table.coalitions(table.largest_small)
    loss_CM = np.full((len(design), len(table.models)), math.nan)
    known_CM = np.zeros(loss_CM.shape, dtype=bool)
    for column, model in enumerate(table.models):
        trained = [c for c in table.coalitions(model) if c.bit_count() < 2]
        companies = reduce(or_, trained, 0)
        if not companies:
            continue
        known_CM[:, column] = [not c & ~companies for c in design]
        mean_losses = table.mean_losses(model)
        for coalition in trained:
            loss_CM[place_of(coalition, design), column] = mean_losses[coalition]
    return AveragedLosses(table.models, design, loss_CM), known_CM


def averaged_csv(averaged: AveragedLosses) -> Iterator[str]:
    """The lines of averaged.csv, each with its end. There may be millions.

    Floats are Python's shortest text that reads back exactly.
    """
    writer = csv.writer(Lines(), lineterminator="\n")
    yield writer.writerow(COLUMNS)
    for model, loss_C in zip(averaged.models, averaged.loss_CM.T, strict=True):
        for coalition, loss in zip(averaged.coalitions, loss_C.tolist(), strict=True):
            if not math.isnan(loss):
                yield writer.writerow([coalition, model, repr(loss)])


def read_averaged(path: AnyFile, table: UtilityTable) -> AveragedLosses:
    """The losses in an averaged.csv: the inverse of `averaged_csv`.

    table: the utilities of the run. They say which averages are known, so that nobody can leave out
        those that he does not like.

    Raises InputError that names the line, or what is missing.
    """
    expected, known_CM = measured_averages(table)
    column_of = {model: column for column, model in enumerate(table.models)}
    found_CM = np.full_like(expected.loss_CM, math.nan)
    for row, where in read_table(path, COLUMNS):
        coalition, loss = _read_row(row, where)
        model = row["model"]
        place = place_of(coalition, expected.coalitions), column_of.get(model)
        if None in place or not known_CM[place]:
            raise InputError(
                f"{where}: no average is known of coalition {coalition} and the model {model!r}:"
                " that takes a coalition of the design, all of whose members trained this model"
                " alone."
            )
        if not np.isnan(found_CM[place]):
            raise InputError(f"{where}: coalition {coalition} of {model} is listed twice.")
        measured = float(expected.loss_CM[place])
        if not math.isnan(measured) and loss != measured:
            raise InputError(
                f"{where}: the loss of {coalition_name(coalition, table.companies)} is {loss!r};"
                f" {model} has {measured!r} there in the utilities."
            )
        found_CM[place] = loss
    missing = [
        f"{expected.coalitions[row]} of {table.models[column]}"
        for column, row in np.argwhere((known_CM & np.isnan(found_CM)).T).tolist()
    ]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {known_CM.sum()} averages are missing: coalition"
            f" {listed(missing, 5)}."
        )
    return replace(expected, loss_CM=found_CM)


def _read_row(row: dict[str, str], where: str) -> tuple[int, float]:
    try:
        coalition, loss = whole_number(row["coalition"]), decimal_number(row["loss"])
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from None
    if not math.isfinite(loss):
        raise InputError(f"{where}: the loss is {row['loss']!r}; it must be a finite number.")
    return coalition, loss
