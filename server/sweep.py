"""The sweep: every small model on every coalition of the design, wave by wave.

Shapes: N companies, C coalitions, V validation examples. A stack has one flat vector of parameters
a row, for each coalition of a wave.
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fl_sv.audit.wave import WaveWork
from fl_sv.design.sample import Step
from fl_sv.design.waves import IN_FLIGHT
from fl_sv.design.workloads import SWEEP, Workload, sweep_workloads
from fl_sv.flower import wire
from fl_sv.game.coalitions import EMPTY, coalition_name, place_of
from fl_sv.game.scores import Score
from fl_sv.progress import Bar
from fl_sv.runs.journal import REUSED, Journal, OutputsOf, Wave
from fl_sv.training.models import as_tensor
from fl_sv.training.pairs import pairs_of
from fl_sv.training.scoring import Outputs, mean_scores
from fl_sv.values.weighting import Weighting
from server.interleave import Work, interleave
from server.job import Job
from server.parts import operator_parts
from server.students import compute_teacher_logits, send_teacher
from strategies.coalitions import CoalitionStrategy
from strategies.roster import to_numpy, to_record

# Coalitions whose losses by example are in memory at once, besides those of two waves.
BLOCK = 4096

# The stack of each model and replicate, by key.
Stacks = dict[str, NDArray[np.floating]]


def sweep_coalitions(job: Job, step: Step) -> None:
    """Trains the small models on the step's coalitions; their scores go into the journal.

    While the companies train one wave, the server averages another. Waves that are in the journal
    are not trained again.
    """
    journal = job.journal
    for model in job.small:
        for replicate in range(job.config.training.seeds):
            _, score = job.validation.untrained(model, replicate)
            job.keep(score)
    finished = journal.finished_waves()
    known = journal.wave_coalitions(REUSED) if REUSED in finished else []
    done = {coalition for number in finished for coalition in journal.wave_coalitions(number)}
    # Waves are planned from the step, not from the coalitions that are missing. So a resumed run
    # has the same waves as the first one, and a wave is either finished or trained as a whole.
    waves = sweep_workloads(job.config, job.small, step, known)
    missing = [(place, wave) for place, wave in enumerate(waves) if wave.coalitions[0] not in done]
    if missing and job.config.students:
        send_teacher(job)
    rounds = sum(wave.rounds for wave in waves)
    rounds_left = sum(wave.rounds for _, wave in missing)
    with job.progress.stage(SWEEP, rounds, "rounds") as bar:
        bar.skip(rounds - rounds_left)
        # Numbers continue those in the journal. Two waves are in flight, and both must end before
        # the next two begin: that bounds memory, and what a crash loses.
        numbered = list(enumerate(missing, start=1 + max(finished, default=REUSED)))
        for start in range(0, len(numbered), IN_FLIGHT):
            with job.meter.stage(SWEEP):
                interleave(
                    _run_wave(job, number, wave, f"wave {place + 1} of {len(waves)}", bar)
                    for number, (place, wave) in numbered[start : start + IN_FLIGHT]
                )


def validation_values(
    job: Job, coalitions: Sequence[int], weighting: Weighting
) -> NDArray[np.float64]:
    """The value of each company for each validation example (N, V), by the largest small model.

    coalitions: those with a utility, ascending, the empty one first.

    Values are linear in the utilities, so blocks of coalitions are added one after the other. The
    blocks ascend by coalition and not by wave, so that no bit of the sum depends on the waves.
    """
    model = job.small[-1]
    replicates = range(job.config.training.seeds)
    untrained_V = np.mean([job.validation.untrained(model, r)[0] for r in replicates], axis=0)
    values_NV = weighting.weights([EMPTY]).T @ -untrained_V[None, :]
    for block, losses_CV in _losses_by_example(job.journal, coalitions[1:], len(untrained_V)):
        values_NV = values_NV + weighting.weights(block).T @ -losses_CV
    return values_NV


def _losses_by_example(
    journal: Journal, coalitions: Sequence[int], n_examples: int
) -> Iterator[tuple[Sequence[int], NDArray[np.float64]]]:
    """The coalitions in blocks, each with the largest small model's loss by example (C, V)."""
    number_C, row_C = _places(journal, coalitions)
    # One wave is kept in memory. Blocks and waves both ascend, so the next block often needs it.
    last: int | None = None
    wave_CV = np.empty((0, 0))
    for start in range(0, len(coalitions), BLOCK):
        block = coalitions[start : start + BLOCK]
        number_B, row_B = number_C[start : start + BLOCK], row_C[start : start + BLOCK]
        losses_CV = np.empty((len(block), n_examples))
        for number in map(int, np.unique(number_B)):
            if number != last:
                wave_CV = journal.wave(number).losses_CV
                last = number
            here_B = number_B == number
            losses_CV[here_B] = wave_CV[row_B[here_B]]
        yield block, losses_CV


def _places(
    journal: Journal, coalitions: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each coalition's wave (C,), and its row in it (C,).

    coalitions: ascending.
    """
    number_C, row_C = np.full((2, len(coalitions)), -1)
    for number in journal.finished_waves():
        for row, coalition in enumerate(journal.wave_coalitions(number)):
            place = place_of(coalition, coalitions)
            if place is not None:  # another run's wave may hold more than this one needs
                number_C[place], row_C[place] = number, row
    assert (row_C >= 0).all(), "a coalition without a finished wave"
    return number_C, row_C


def _run_wave(job: Job, number: int, wave: Workload, place: str, bar: Bar) -> Work[None]:
    """Trains the wave and enters its scores into the journal."""
    coalitions = [*wave.coalitions]
    what = f"{place} (coalitions {coalitions[0]} to {coalitions[-1]})"
    stacks, work = yield from _train(job, wave, what, bar)
    scores, finished, outputs = _score(job, coalitions, stacks, what)
    job.journal.add_wave(number, scores, finished, outputs, work)
    largest = max(coalitions, key=int.bit_count)
    loss = next(score.loss for score in reversed(scores) if score.coalition == largest)
    bar.advance(0, loss, coalition_name(largest, job.config.companies))


def _train(job: Job, wave: Workload, what: str, bar: Bar) -> Work[tuple[Stacks, WaveWork]]:
    """The trained stack of every model and replicate, rows in the order of the coalitions, and what
    the audit saw.
    """
    model_of = {
        (wire.stack_key(model.name, r), r): model
        for model in job.small
        for r in range(job.config.training.seeds)
    }
    initial = {
        key: model.initial_params(job.config.seed, r)[None].numpy()
        for (key, r), model in model_of.items()
    }
    strategy = CoalitionStrategy(
        job.federation.roster,
        [*wave.coalitions],
        job.config.compute.dtype,
        {key: pairs_of(model) for (key, _), model in model_of.items()},
        watched=initial,
        parts=operator_parts(job),
    )

    def advance(_round: int, _arrays: ArrayRecord) -> None:
        bar.advance(1)

    def before_retry(companies: Collection[str]) -> None:
        # A node that was started again has lost the teacher's logits.
        if job.config.students:
            compute_teacher_logits(job, companies)

    start = to_record(initial)
    flops = job.flops_of_a_round(wave)
    trained = yield from job.run_rounds(
        strategy, start, 1, what, advance, before_retry, flops=flops
    )
    assert strategy.watch is not None, "the sweep is watched"
    return to_numpy(trained), strategy.watch.found()


def _score(
    job: Job, coalitions: list[int], stacks: Stacks, what: str
) -> tuple[list[Score], Wave, OutputsOf]:
    """The scores of every model on the wave, the largest one's losses by example, and the outputs
    of the singletons' models.
    """
    scores: list[Score] = []
    outputs: dict[tuple[str, int, int], Outputs] = {}
    singletons = [row for row, c in enumerate(coalitions) if c.bit_count() == 1]
    replicates = range(job.config.training.seeds)
    mean_CV = np.zeros((len(coalitions), len(job.validation.y)))
    for model in job.small:
        for replicate in replicates:
            stack = as_tensor(stacks[wire.stack_key(model.name, replicate)])
            losses, hits, own = job.validation.losses(model, stack, what, keep=singletons)
            outputs |= {(model.name, replicate, coalitions[row]): own[row] for row in own}
            for coalition, mean in zip(coalitions, mean_scores(losses, hits), strict=True):
                scores.append(Score(coalition, model.name, replicate, *mean))
            if model is job.small[-1]:
                mean_CV += losses.numpy()
    mean_CV /= len(replicates)
    return scores, Wave(coalitions, mean_CV), outputs
