"""How the tables of a run agree with its config, and with each other.

What two files say must be the same, also where no value depends on it. The numbers are those of the
rules in `fl_sv.runs.verify`.
"""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from fl_sv.config.data import Duplicate
from fl_sv.config.models import model_name
from fl_sv.config.strategies import is_the_game
from fl_sv.data.sources import kind_of
from fl_sv.errors import listed
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.game.utilities import planned_rows
from fl_sv.payment.settlement import Evidence
from fl_sv.runs import files
from fl_sv.runs.compare import compare
from fl_sv.runs.cost import CostRecord

UNTRAINED_TOLERANCE = 1e-5  # the untrained model's loss is ln K there, and float32 here


def table_problems(evidence: Evidence) -> Iterator[str]:
    """Rules 13 to 17. Of the coalitions, `fl_sv.design` knows which they must be."""
    yield from _planned_problems(evidence)
    yield from _teacher_problems(evidence)
    yield from _row_problems(evidence)
    yield from _student_problems(evidence)


def _planned_problems(evidence: Evidence) -> Iterator[str]:
    config, table = evidence.config, evidence.table
    *small, large = models = [*map(model_name, (*config.models.small, config.models.large))]
    seeds = dict.fromkeys(small, config.training.seeds) | {large: config.training.large_seeds}
    coalitions = {model: table.coalitions(table.largest_small) for model in small}
    planned = planned_rows(models, seeds, coalitions | {large: table.coalitions(large)})
    if [*table.planned.items()] != [*planned.items()]:
        found, due = ([*map(_named, rows)] for rows in (table.planned, planned))
        yield (
            f"{files.UTILITIES}: the rows are of {listed(found)}; by the config they must be of"
            f" {listed(due)}, each on the same coalitions"
        )
    sizes = [*evidence.sizes.values()]
    if [*evidence.sizes] != models or sizes != sorted(sizes) or min(sizes) < 1:
        yield f"{files.LAW}: the sizes {evidence.sizes} are not those of the models, ascending"


def _teacher_problems(evidence: Evidence) -> Iterator[str]:
    config, curve, rounds = evidence.config, evidence.curve, evidence.config.training.rounds
    large, scores = evidence.table.large, evidence.table.scores
    if [point.number for point in curve] != [*range(rounds + 1)]:
        yield f"{files.TEACHER}: the rounds are not 0 to {rounds}"
    last, untrained = grand(config.n_companies), scores.get((large, 0, EMPTY))
    if is_the_game(config.teacher.strategy) and (large, 0, last) in scores:
        # The teacher is the large model of the grand coalition.
        measured = scores[large, 0, last]
        where = f"{files.TEACHER}: the last"
        yield from compare(f"{where} loss", curve[-1].loss, measured.loss)
        yield from compare(f"{where} accuracy", curve[-1].accuracy, measured.accuracy)
    if untrained is not None and config.law.untrained_loss is None:
        first = curve[0].loss
        if abs(first - untrained.loss) > UNTRAINED_TOLERANCE * max(1.0, abs(untrained.loss)):
            yield (
                f"{files.TEACHER}: the loss of round 0 is {first!r}; the untrained model has"
                f" {untrained.loss!r} in {files.UTILITIES}"
            )


def _row_problems(evidence: Evidence) -> Iterator[str]:
    """The width of validation.npz, and the rows of all."""
    config, n_rows = evidence.config, evidence.validation_NV.shape[1]
    data, tuning = config.data, evidence.rates.rows if evidence.rates else 0
    copies = any(isinstance(each, Duplicate) for each in data.corruptions)
    by_rows = data.text is None  # of texts whole documents are held out
    if data.source != "own" and data.validation.file is None and not copies and by_rows:
        held = n_rows + tuning
        total = held + sum(evidence.examples.values()) + evidence.rows_left_out
        due = math.ceil(data.validation.fraction * total)
        if held != due:
            yield (
                f"{files.VALIDATION} is of {n_rows} rows: the operator's {held} of {total} rows are"
                f" not the share {data.validation.fraction} that the config holds out, {due}"
            )


def accuracy_problems(evidence: Evidence, output_shape: tuple[int, ...]) -> Iterator[str]:
    """Rule 16: accuracies are counts of rows; with several targets, means of the rows' shares.

    output_shape: of the large model, by its JSON file. With a loss of the user's own, outputs may
    be of a shape that has no accuracy.
    """
    config, n_rows = evidence.config, evidence.validation_NV.shape[1]
    classes = kind_of(config.data) == "classification"
    for where, accuracy in _accuracies(evidence):
        if accuracy is None and classes and config.training.loss is not None:
            continue
        if (accuracy is None) == classes:
            yield f"{where}: there is an accuracy where the task has classes, and only there"
        elif accuracy is not None and len(output_shape) > 1:
            if not 0 <= accuracy <= 1:
                yield f"{where}: the accuracy {accuracy!r} is no share, from 0 to 1"
        elif accuracy is not None and not _is_share_of(accuracy, n_rows):
            yield (
                f"{where}: the accuracy {accuracy!r} is no whole number of the {n_rows} validation"
                f" rows of {files.VALIDATION}"
            )


def _accuracies(evidence: Evidence) -> Iterator[tuple[str, float | None]]:
    """Each accuracy of the run; of utilities.csv the first of each column that is wrong counts."""
    for (model, seed), column in evidence.table.scores.columns.items():
        for accuracy in np.unique(column.accuracy_C).tolist():
            known = None if math.isnan(accuracy) else accuracy
            yield f"{files.UTILITIES}, {model} (seed {seed})", known
    for point in evidence.curve:
        yield f"{files.TEACHER}, round {point.number}", point.accuracy
    if evidence.student is not None:
        yield files.STUDENT, evidence.student.accuracy


def _is_share_of(accuracy: float, n_rows: int) -> bool:
    """Whether it is a mean of n_rows zeros and ones, as float64 writes it."""
    count = round(Fraction(accuracy) * n_rows)
    return 0 <= count <= n_rows and math.isclose(accuracy, count / n_rows, rel_tol=1e-12)


def _student_problems(evidence: Evidence) -> Iterator[str]:
    deployed, student = evidence.config.deployed, evidence.student
    if deployed is None or student is None:
        return
    wanted = deployed.transfer_set
    due = (model_name(deployed.model), wanted.kind, getattr(wanted, "rows", student.rows))
    found = (student.model, student.transfer_set, student.rows)
    if found != due or student.rows < 1 or student.parameters < 1:
        yield f"{files.STUDENT} is of {listed(found)}; by the config it must be of {listed(due)}"


def cost_problems(cost: CostRecord) -> Iterator[str]:
    """Rule 17: nothing costs less than nothing, and the sweep's share is that of the stages."""
    stages = {name: stage.model_dump() for name, stage in cost.stages.items()}
    if min(min(stage.values()) for stage in stages.values()) < 0:
        yield f"{files.COST}: a stage costs less than nothing"
    yield from compare(files.COST, cost.body(), CostRecord.of(stages).body())


def _named(row: tuple[str, int]) -> str:
    return f"{row[0]} (seed {row[1]})"
