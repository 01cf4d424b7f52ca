"""The sweep: every small model on every coalition of the design, wave by wave.

Shapes: N companies, C coalitions of a wave, R replicates, P parameters, V validation examples.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fl_sv.design.sample import Step
from fl_sv.design.waves import IN_FLIGHT
from fl_sv.design.workloads import SWEEP, Workload, sweep_workloads
from fl_sv.flower import wire
from fl_sv.game.coalitions import EMPTY
from fl_sv.game.utilities import Score
from fl_sv.progress import Bar
from fl_sv.runs.journal import REUSED, Wave
from fl_sv.training.scoring import mean_scores
from fl_sv.values.weighting import Weighting
from server.interleave import Work, interleave
from server.job import Job
from server.students import compute_teacher_logits, send_teacher
from strategies.coalitions import CoalitionStrategy
from strategies.roster import to_numpy, to_record

BLOCK = 4096  # coalitions whose losses by example are in memory at once, besides four waves

Stacks = dict[str, NDArray[np.floating]]


def sweep_coalitions(job: Job, step: Step) -> None:
    """Scores of every small model, replicate and coalition of the step go into the journal, a wave
    at a time.

    While the companies train one wave, the server averages another.
    """
    journal = job.journal
    for model in job.small:
        for replicate in range(job.config.training.seeds):
            job.keep(job.validation.untrained(model, replicate)[1])
    finished = journal.finished_waves()
    known = journal.wave_coalitions(REUSED) if REUSED in finished else []
    done = {coalition for number in finished for coalition in journal.wave_coalitions(number)}
    # Planned from the step alone, so that a resumed run trains the waves that it would have trained.
    waves = sweep_workloads(job.config, job.small, step, known)
    missing = [(place, wave) for place, wave in enumerate(waves) if wave.coalitions[0] not in done]
    if missing and job.config.students:
        send_teacher(job)
    with job.progress.stage(SWEEP, sum(wave.rounds for wave in waves), "rounds") as bar:
        bar.advance(sum(wave.rounds for wave in waves) - sum(wave.rounds for _, wave in missing))
        numbered = list(enumerate(missing, start=1 + max(finished, default=REUSED)))
        for start in range(0, len(numbered), IN_FLIGHT):
            with job.costed(SWEEP):
                interleave(
                    _run_wave(job, number, wave, f"wave {place + 1} of {len(waves)}", bar)
                    for number, (place, wave) in numbered[start : start + IN_FLIGHT]
                )


def validation_values(
    job: Job, coalitions: Sequence[int], weighting: Weighting
) -> NDArray[np.float64]:
    """(N, V) value of each company for each validation example, by the largest small model on
    `coalitions`, ascending.

    It is linear in the utilities, so blocks of coalitions contribute one after the other:
    ascending, whatever the waves were, so that no bit depends on them."""
    largest, replicates = job.small[-1], range(job.config.training.seeds)
    untrained_V = np.mean([job.validation.untrained(largest, r)[0] for r in replicates], axis=0)
    journal, wave = job.journal, lru_cache(maxsize=4)(job.journal.wave)
    places = {
        c: (n, row)
        for n in journal.finished_waves()
        for row, c in enumerate(journal.wave_coalitions(n))
    }
    total_NV = weighting.weights([EMPTY]).T @ -untrained_V[None, :]
    for start in range(1, len(coalitions), BLOCK):
        block = coalitions[start : start + BLOCK]
        number_C, row_C = np.array([places[coalition] for coalition in block]).T
        losses_CV = np.empty((len(block), len(untrained_V)))
        for number in np.unique(
            number_C
        ):  # a wave is read once, however a sample's steps interleave
            losses_CV[number_C == number] = wave(int(number)).losses_CV[row_C[number_C == number]]
        total_NV = total_NV + weighting.weights(block).T @ -losses_CV
    return total_NV


def _run_wave(job: Job, number: int, wave: Workload, place: str, bar: Bar) -> Work[None]:
    """Trains the wave and enters its scores into the journal."""
    coalitions = [*wave.coalitions]
    what = f"{place} (coalitions {coalitions[0]} to {coalitions[-1]})"
    stacks = yield from _train(job, coalitions, what, bar)
    scores, finished = _score(job, coalitions, stacks, what)
    job.journal.add_wave(number, scores, finished)
    job.journal.add_cost(SWEEP, flops=job.flops(wave))  # at once: the other wave may fail yet


def _train(job: Job, coalitions: list[int], what: str, bar: Bar) -> Work[Stacks]:
    """The trained stacks (C, P) of every model and replicate, rows in the order of `coalitions`."""
    strategy = CoalitionStrategy(job.federation.roster, coalitions, job.config.compute.dtype)
    initial = {
        wire.stack_key(model.name, r): model.initial_params(job.config.seed, r)[None].numpy()
        for model in job.small
        for r in range(job.config.training.seeds)
    }

    def advance(_round: int, _arrays: ArrayRecord) -> None:
        bar.advance(1)

    def before_retry(companies: Collection[str]) -> None:
        if job.config.students:
            compute_teacher_logits(job, companies)

    trained = yield from job.run_rounds(
        strategy, to_record(initial), 1, what, advance, before_retry
    )
    return to_numpy(trained)


def _score(job: Job, coalitions: list[int], stacks: Stacks, what: str) -> tuple[list[Score], Wave]:
    """Scores of every model on the wave, and what the largest lost on each validation example."""
    scores: list[Score] = []
    largest_losses_CV = np.zeros(())
    for model in job.small:
        sum_CV = np.zeros(())
        for replicate in range(job.config.training.seeds):
            stack = torch.tensor(stacks[wire.stack_key(model.name, replicate)])
            losses, hits = job.validation.losses(model, stack, what)
            means = zip(coalitions, mean_scores(losses, hits), strict=True)
            scores += [Score(coalition, model.name, replicate, *mean) for coalition, mean in means]
            sum_CV = sum_CV + losses.numpy()
        largest_losses_CV = sum_CV / job.config.training.seeds
    return scores, Wave(coalitions, largest_losses_CV)
