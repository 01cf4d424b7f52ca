"""The large runs: the large model untrained, at singletons, and at larger coalitions.

The config's `law.anchors` sets their number. The company of a singleton trains all rounds for one
message. Larger coalitions train in waves: for each round a company gets one message with the large
models of its coalitions.
"""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from flwr.app import ArrayRecord, RecordDict
from numpy.typing import NDArray

from fl_sv.design.large_runs import large_run_counts, planned_large_runs
from fl_sv.design.sample import design_steps
from fl_sv.design.workloads import LARGE_RUNS, Workload, large_run_workloads
from fl_sv.flower import schema, wire
from fl_sv.game.coalitions import EMPTY, grand, member_names
from fl_sv.game.scores import Score
from fl_sv.progress import Bar
from fl_sv.training.models import as_tensor
from fl_sv.training.pairs import pairs_of
from fl_sv.training.scoring import Outputs, mean_scores
from server.averages import average_singletons
from server.interleave import run_to_end
from server.job import Job
from strategies.coalitions import CoalitionStrategy
from strategies.roster import to_numpy, to_record


def measure_large_runs(job: Job) -> list[int]:
    """The coalitions on which the large model is measured; their scores go into the journal, once.

    `planned_large_runs` chooses them: first the singletons, then by their losses the larger
    coalitions.
    """
    for replicate in range(job.config.training.large_seeds):
        job.keep(job.validation.untrained(job.large, replicate)[1])
    first_step = design_steps(job.config)[0].coalitions
    ends = [EMPTY, grand(job.config.n_companies)]
    before = job.table(first_step, ends)
    singletons = planned_large_runs(job.config, before, job.sizes, job.examples, None)
    _carry_out(job, singletons[len(ends) :])
    if not large_run_counts(job.config).larger:
        return singletons
    # The plan names the larger coalitions once the singletons are measured.
    table = job.table(first_step, singletons)
    averaged = average_singletons(job, table)
    planned = planned_large_runs(job.config, table, job.sizes, job.examples, averaged)
    _carry_out(job, planned[len(singletons) :])
    return planned


def _carry_out(job: Job, coalitions: list[int]) -> None:
    """The large runs on `coalitions`: singletons by themselves, the others wave by wave."""
    todo = set(_without_score(job, coalitions))
    workloads = large_run_workloads(job.config, job.large, coalitions)
    singletons = [workload for workload in workloads if workload.by_itself]
    waves = [workload for workload in workloads if not workload.by_itself]
    for workload in singletons:
        if missing := [c for c in workload.coalitions if c in todo]:
            _train_singletons(job, workload, missing)
    if any(c in todo for wave in waves for c in wave.coalitions):
        with job.progress.stage(LARGE_RUNS, sum(wave.rounds for wave in waves), "rounds") as bar:
            for wave in waves:
                if missing := [c for c in wave.coalitions if c in todo]:
                    _train_wave(job, wave.of(missing), bar)
                else:
                    bar.skip(wave.rounds)


def _train_singletons(job: Job, workload: Workload, missing: list[int]) -> None:
    """The companies of the missing singletons train: all rounds and seeds for one message each."""
    config, roster = job.config, job.federation.roster
    coalition_of = {config.companies[c.bit_length() - 1]: c for c in missing}
    companies = [company for company in roster.by_name if company in coalition_of]
    start = to_record({key: params.numpy() for key, params in _initial(job).items()})
    shapes = {key: array.shape for key, array in start.items()}

    def check(_company: str, content: RecordDict) -> None:
        schema.check_reply(wire.SINGLETON, content, shapes, config.compute.dtype)

    with (
        job.progress.stage(LARGE_RUNS, len(workload.coalitions), "companies") as bar,
        job.meter.stage(workload.stage),
    ):
        bar.skip(len(workload.coalitions) - len(missing))
        requests = [roster.message(company, wire.SINGLETON, 0, start) for company in companies]
        what = "training the large model on its own rows"

        def count(company: str) -> None:
            bar.advance(1)
            job.meter.add(job.flops(workload.of([coalition_of[company]])))

        exchange = job.federation.exchange(requests, check, what, on_reply=count)
        contents = roster.replies_by_name(run_to_end(exchange), 0)
        for company in companies:
            content = contents.pop(company)  # a large one goes once it is scored
            trained = to_numpy(content[wire.ARRAYS])
            bar.advance(0, _keep_singleton(job, coalition_of[company], trained), company)


def _keep_singleton(job: Job, coalition: int, trained: Mapping[str, NDArray[np.floating]]) -> float:
    """Enters a singleton's large models of all replicates: their scores and their outputs.

    Returns the loss of the last one.
    """
    scores, outputs = [], {}
    for key, params in trained.items():
        found, own = _scores(job, [coalition], key, as_tensor(params)[None], keep=[0])
        scores += found
        outputs[found[0].key] = own[0]
    job.journal.add_scores(scores, outputs)
    return scores[-1].loss


def _train_wave(job: Job, wave: Workload, bar: Bar) -> None:
    """Trains a wave by FedAvg over the members, from the last round in the journal to the end."""
    done, stacks = job.journal.stacks(wave.name)
    if not done:
        stacks = {key: params[None].numpy() for key, params in _initial(job).items()}
    bar.skip(done)

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        job.journal.keep_stacks(wave.name, server_round, to_numpy(arrays))
        bar.advance(1)

    coalitions = [*wave.coalitions]
    pairs = dict.fromkeys(stacks, pairs_of(job.large))
    strategy = CoalitionStrategy(job.federation.roster, coalitions, job.config.compute.dtype, pairs)
    what = f"training the large model by coalitions of companies ({wave.name})"
    flops = job.flops_of_a_round(wave)
    start = to_record(stacks)
    work = job.run_rounds(strategy, start, done + 1, what, after_round, flops=flops)
    del start, stacks  # large models are in memory only while they travel
    with job.meter.stage(wave.stage):
        trained = run_to_end(work)
        scores = [
            score
            for key, stack in to_numpy(trained).items()
            for score in _scores(job, coalitions, key, as_tensor(stack))[0]
        ]
    job.journal.finish_stacks(wave.name, scores)


def _scores(
    job: Job, coalitions: list[int], key: str, stack: torch.Tensor, keep: Collection[int] = ()
) -> tuple[list[Score], dict[int, Outputs]]:
    """The scores of one replicate of the large model, and the outputs of the rows in `keep`.

    stack: a row for each coalition.
    """
    _, replicate = wire.parse_stack_key(key)
    first = member_names(coalitions[0], job.config.companies)
    what = f"the large model of {first}, seed {replicate}"
    losses, hits, outputs = job.validation.losses(job.large, stack, what, keep)
    scores = [
        Score(c, job.large.name, replicate, *mean)
        for c, mean in zip(coalitions, mean_scores(losses, hits), strict=True)
    ]
    return scores, outputs


def _initial(job: Job) -> dict[str, torch.Tensor]:
    """The parameters of the untrained large model for every replicate, by key."""
    return {
        wire.stack_key(job.large.name, r): job.large.initial_params(job.config.seed, r)
        for r in range(job.config.training.large_seeds)
    }


def _without_score(job: Job, coalitions: list[int]) -> list[int]:
    """The coalitions that lack a score of the large model for at least one replicate."""
    scored = job.journal.scores()
    replicates = range(job.config.training.large_seeds)
    return [c for c in coalitions if any((job.large.name, r, c) not in scored for r in replicates)]
