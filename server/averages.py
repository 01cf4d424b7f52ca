"""Averages of the companies' own models, which the operator evaluates without any training.

Every small model was trained on every company alone, and perhaps the large one; the journal has the
outputs of these models. For each coalition of the design the members' outputs are averaged. The
loss of the average is a first guess of what training together brings.

Shapes: R seeds, C coalitions of the design, M small sizes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import Interrupted, RunError
from fl_sv.game.averaged import AveragedLosses, measured_averages
from fl_sv.game.coalitions import place_of
from fl_sv.game.utilities import UtilityTable, mean_over_seeds
from fl_sv.progress import Bar
from fl_sv.runs.compare import TOLERANCE
from fl_sv.runs.files import JOURNAL
from fl_sv.training.averages import average_losses
from server.job import Job

AVERAGES = "averages"  # the stage, as cost.json names it


def average_singletons(job: Job, table: UtilityTable) -> AveragedLosses:
    """The losses of the averages of the members' own models, for the coalitions of the table.

    Raises RunError when an own model does not have the loss that was measured, or when the journal
    lacks it: an older version of fl-sv, which kept none, trained it in this run or in the one that
    this run extends.
    """
    measured, known_CM = measured_averages(table)
    known_CM[0] = False  # nobody, the first coalition of every design, has no model
    loss_CM = measured.loss_CM.copy()
    seeds = [table.seeds(model) for model in table.models]
    total = int(known_CM.sum(axis=0) @ [len(replicates) for replicates in seeds])
    with job.meter.stage(AVERAGES), job.progress.stage(AVERAGES, total, "evaluations") as bar:
        for m, model in enumerate(table.models):
            rows = np.flatnonzero(known_CM[:, m])
            coalitions = [measured.coalitions[row] for row in rows.tolist()]
            loss_RC = np.full((len(seeds[m]), len(rows)), np.nan)
            for loss_C, replicate in zip(loss_RC, seeds[m], strict=True):
                _evaluate(job, model, replicate, coalitions, loss_C, bar)
            mean_C, measured_C = mean_over_seeds(loss_RC), loss_CM[rows, m]
            _require_as_measured(model, mean_C, measured_C)
            # What was measured stays as it is, to the last bit.
            loss_CM[rows, m] = np.where(np.isnan(measured_C), mean_C, measured_C)
    return replace(measured, loss_CM=loss_CM)


def _evaluate(
    job: Job,
    model: str,
    replicate: int,
    coalitions: Sequence[int],
    loss_C: NDArray[np.float64],
    bar: Bar,
) -> None:
    """Enters the losses of one seed into loss_C.

    coalitions: ascending.
    """
    companies, validation = job.config.companies, job.validation
    kept = job.journal.outputs(model, replicate)
    singletons = {c for c in coalitions if c.bit_count() == 1}
    if not singletons <= kept.keys():
        raise RunError(
            f"{JOURNAL} lacks the outputs of {model} trained on one company alone: an older version"
            " of fl-sv wrote it. Begin the run in a new folder."
        )
    # In the order of the names, as all sums are.
    by_name = sorted(range(len(companies)), key=companies.__getitem__)
    n_scored = len(validation.y)  # below are outputs on planted rows
    own = {i: kept[1 << i][:n_scored] for i in by_name if 1 << i in singletons}
    weights = {i: job.federation.roster.weights[companies[i]] for i in own}
    for block in average_losses(job.large.task, validation.y, own, weights, coalitions):
        if job.federation.stop.is_set():
            raise Interrupted("The run was interrupted.")
        for coalition, loss in block.items():
            loss_C[place_of(coalition, coalitions)] = loss
        bar.advance(len(block))


def _require_as_measured(
    model: str, mean_C: NDArray[np.float64], measured_C: NDArray[np.float64]
) -> None:
    """Raises RunError where a singleton's kept outputs have another loss than was measured.

    measured_C: NaN where nothing was.
    """
    wrong_C = np.abs(mean_C - measured_C) > TOLERANCE * np.maximum(1.0, np.abs(measured_C))
    if wrong_C.any():
        raise RunError(
            f"The outputs of {model} in the journal are not those of the models that were scored:"
            f" a company's own has the loss {mean_C[wrong_C][0]}, and {measured_C[wrong_C][0]} was"
            " measured. Start a new run."
        )
