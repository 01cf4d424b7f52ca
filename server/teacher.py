"""The teacher: the large model trained by the grand coalition."""

from dataclasses import dataclass

import torch
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fl_sv.config.strategies import is_the_game
from fl_sv.flower import wire
from fl_sv.game.coalitions import grand
from fl_sv.game.utilities import Score
from fl_sv.payment.settlement import TeacherLoss
from fl_sv.progress import Bar
from fl_sv.runs.journal import TeacherRound
from server.interleave import run_to_end
from server.job import Job
from strategies.flower import everyone, make_strategy
from strategies.roster import to_numpy, to_record
from strategies.teacher import TeacherStrategy

DEPLOYED = "teacher/0"  # the run whose model earns the money


@dataclass(frozen=True)
class LargeRun:
    """One federated training of the large model by the grand coalition."""

    name: str
    replicate: int
    in_the_game: bool  # its loss is L_large(N)


def large_runs(job: Job) -> list[LargeRun]:
    """The deployed teacher first, and the runs whose losses stand for the grand coalition in the
    game.

    They are the same unless the teacher's strategy is something else than the game's aggregation.
    """
    replicates = range(job.config.training.large_seeds)
    if is_the_game(job.config.teacher.strategy):
        return [LargeRun(f"teacher/{r}", r, in_the_game=True) for r in replicates]
    game = [LargeRun(f"fedavg/{r}", r, in_the_game=True) for r in replicates]
    return [LargeRun(DEPLOYED, 0, in_the_game=False), *game]


def train_teacher(job: Job) -> list[TeacherLoss]:
    """The curve of the deployed teacher; the grand coalition's scores of the large model go into
    the journal.
    """
    runs = large_runs(job)
    with job.progress.stage("teacher", len(runs) * job.config.training.rounds, "rounds") as bar:
        for run in runs:
            final = _train(job, run, bar)
            if run.in_the_game:
                score = Score(
                    grand(job.config.n_companies),
                    job.large.name,
                    run.replicate,
                    final.loss,
                    final.accuracy,
                )
                job.keep(score)
    return [TeacherLoss(r.number, r.loss, r.accuracy) for r in job.journal.teacher_rounds(DEPLOYED)]


def _train(job: Job, run: LargeRun, bar: Bar) -> TeacherRound:
    """Trains to the last round, from where the journal stands. Returns the last round."""
    key, rounds = (
        wire.stack_key(job.large.name, run.replicate),
        job.journal.teacher_rounds(run.name),
    )
    inner = (
        make_strategy(job.config)
        if run.name.startswith("teacher")
        else FedAvg(**everyone(job.config.n_companies))
    )
    strategy = TeacherStrategy(
        inner, job.federation.roster, key, job.large.n_params, job.config.compute.dtype
    )
    if rounds:
        strategy.restore(rounds[-1].strategy)
    else:
        initial = job.large.initial_params(job.config.seed, run.replicate)
        rounds = [_keep_round(job, run, strategy, 0, to_record({key: initial.numpy()}))]
    done = rounds[-1].number
    bar.advance(done)
    if done == job.config.training.rounds:
        return rounds[-1]

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        rounds.append(_keep_round(job, run, strategy, server_round, arrays))
        bar.advance(1)

    what = f"the teacher's training ({run.name})"
    flops = job.training_flops(
        job.large, sum(job.examples.values()), job.config.training.rounds - done
    )
    with job.costed("teacher", flops):
        run_to_end(
            job.run_rounds(
                strategy, to_record({key: rounds[-1].params}), done + 1, what, after_round
            )
        )
    return rounds[-1]


def _keep_round(
    job: Job, run: LargeRun, strategy: TeacherStrategy, number: int, arrays: ArrayRecord
) -> TeacherRound:
    (params_P,) = to_numpy(arrays).values()
    ((loss, accuracy),) = job.validation.means(
        job.large, torch.tensor(params_P)[None], f"round {number} of {run.name}"
    )
    state = TeacherRound(number, params_P, strategy.state(), loss, accuracy)
    job.journal.add_teacher_round(run.name, state)
    return state
