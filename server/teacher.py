"""The teacher: the large model, trained by the grand coalition."""

from collections.abc import Callable

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fl_sv.design.workloads import DEPLOYED, TEACHER, TeacherWorkload, teacher_workloads
from fl_sv.flower import wire
from fl_sv.game.coalitions import grand
from fl_sv.game.scores import Score
from fl_sv.payment.settlement import TeacherLoss
from fl_sv.progress import Bar
from fl_sv.runs.journal import TeacherRound
from fl_sv.training.models import as_tensor
from fl_sv.training.pairs import pairs_of
from server.interleave import run_to_end
from server.job import Job
from strategies.flower import every_node, make_strategy
from strategies.roster import to_numpy, to_record
from strategies.teacher import TeacherStrategy

Keep = Callable[[TeacherRound], None]


def train_teacher(job: Job, keep: Keep = lambda finished: None) -> list[TeacherLoss]:
    """Trains the large model by the grand coalition, at every seed that the run needs.

    keep: called with each round of the deployed teacher, before the journal has it.

    Returns the deployed teacher's losses, round by round. The grand coalition's scores of the large
    model go into the journal.
    """
    runs = teacher_workloads(job.config, job.large)
    with job.progress.stage(TEACHER, sum(run.rounds for run in runs), "rounds") as bar:
        for run in runs:
            _train(job, run, bar, keep)
            if run.in_the_game:
                last = job.journal.teacher_curve(run.name)[-1]
                coalition = grand(job.config.n_companies)
                score = Score(coalition, job.large.name, run.replicate, last.loss, last.accuracy)
                job.keep(score)
    return job.journal.teacher_curve(DEPLOYED)


def _train(job: Job, run: TeacherWorkload, bar: Bar, keep: Keep) -> None:
    """Trains from the last round in the journal to the end.

    No name holds parameters: a large model is in memory while it travels, and then in the journal.
    """
    key = wire.stack_key(job.large.name, run.replicate)
    strategy = _strategy(job, run, key)
    if curve := job.journal.teacher_curve(run.name):
        done = curve[-1].number
        strategy.restore(_last_round(job, run).strategy)
    else:
        done = 0
        _keep_round(
            job,
            run,
            strategy,
            done,
            job.large.initial_params(job.config.seed, run.replicate).numpy(),
            keep,
        )
    bar.skip(done)
    if done == run.rounds:
        return

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        (params,) = to_numpy(arrays).values()
        bar.advance(1, _keep_round(job, run, strategy, server_round, params, keep))

    flops = job.flops_of_a_round(run)
    with job.meter.stage(run.stage):
        what = f"the teacher's training ({run.name})"
        start = to_record({key: _last_round(job, run).params})
        work = job.run_rounds(strategy, start, done + 1, what, after_round, flops=flops)
        del start
        run_to_end(work)


def _last_round(job: Job, run: TeacherWorkload) -> TeacherRound:
    """The last finished round, with its parameters: they may be large."""
    return job.journal.teacher_rounds(run.name)[-1]


def _strategy(job: Job, run: TeacherWorkload, key: str) -> TeacherStrategy:
    """The aggregation of the companies' models, wrapped so that it is strict and exact."""
    config = job.config
    inner = (
        make_strategy(config, job.large.learning_rate)
        if run.by_strategy
        else FedAvg(**every_node(config.n_companies))
    )
    roster, n_params = job.federation.roster, job.large.n_params
    pairs = pairs_of(job.large)
    return TeacherStrategy(inner, roster, key, n_params, config.compute.dtype, pairs)


def _keep_round(
    job: Job,
    run: TeacherWorkload,
    strategy: TeacherStrategy,
    number: int,
    params: NDArray[np.floating],
    keep: Keep,
) -> float:
    """Scores the model of a round, enters it into the journal, and returns its loss."""
    stack = as_tensor(params)[None]
    ((loss, accuracy),) = job.validation.means(job.large, stack, f"round {number} of {run.name}")
    finished = TeacherRound(number, params, strategy.state(), loss, accuracy)
    if run.name == DEPLOYED:
        keep(finished)
    job.journal.add_teacher_round(run.name, finished)
    return loss
