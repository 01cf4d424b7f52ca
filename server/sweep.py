"""The sweep: every small model on every coalition, wave by wave.

Shapes: N companies, C coalitions of a wave, R replicates, P parameters, V validation examples.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fl_sv import messages as words
from fl_sv.coalitions import EMPTY, members_matrix
from fl_sv.journal import REUSED, Wave
from fl_sv.scoring import mean_scores
from fl_sv.utilities import Score
from fl_sv.valuation import semivalue_coefficients
from fl_sv.waves import plan_waves
from server.job import Job
from server.students import send_teacher
from strategies.coalitions import CoalitionStrategy
from strategies.roster import to_numpy, to_record

BLOCK = 4096  # coalitions whose losses by example are in memory at once, besides four waves

Stacks = dict[str, NDArray[np.floating]]


def sweep_coalitions(job: Job) -> None:
    """Scores of every small model, replicate and coalition go into the journal, a finished wave at a time."""
    rounds = job.config.training.rounds
    for model in job.small:
        for replicate in range(job.config.training.seeds):
            job.keep(job.validation.untrained(model, replicate)[1])
    finished = job.journal.finished_waves()
    known = job.journal.wave_coalitions(REUSED) if REUSED in finished else []
    waves = plan_waves(job.config, [model.n_params for model in job.small], known)
    if job.config.students and any(number not in finished for number in range(len(waves))):
        send_teacher(job)
    with job.progress.stage("sweep", len(waves) * rounds, "rounds") as bar:
        for number, coalitions in enumerate(waves):
            if number in finished:
                bar.advance(rounds)
                continue
            what = f"wave {number + 1} of {len(waves)} (coalitions {coalitions[0]} to {coalitions[-1]})"
            with job.costed("sweep", _flops(job, coalitions)):
                stacks = _train(job, coalitions, what, lambda: bar.advance(1))
                scores, wave = _score(job, coalitions, stacks, what)
            job.journal.add_wave(number, scores, wave)


def validation_values(job: Job) -> NDArray[np.float64]:
    """(N, V) Shapley value of each company for each validation example, by the largest small model.

    It is linear in the utilities, so blocks of coalitions contribute one after the other: ascending, whatever the waves
    were, so that no bit depends on them.
    """
    largest, replicates = job.small[-1], range(job.config.training.seeds)
    untrained_V = np.mean([job.validation.untrained(largest, r)[0] for r in replicates], axis=0)
    journal, wave = job.journal, lru_cache(maxsize=4)(job.journal.wave)
    finished = journal.finished_waves()
    places = {c: (number, row) for number in finished for row, c in enumerate(journal.wave_coalitions(number))}
    total_NV = _values(job, [EMPTY], untrained_V[None, :])
    ordered = sorted(places)
    for start in range(0, len(ordered), BLOCK):
        coalitions = ordered[start : start + BLOCK]
        losses_CV = np.stack([wave(number).losses_CV[row] for number, row in map(places.__getitem__, coalitions)])
        total_NV = total_NV + _values(job, coalitions, losses_CV)
    return total_NV


def _train(job: Job, coalitions: list[int], what: str, after_round: Callable[[], None]) -> Stacks:
    """The trained stacks (C, P) of every model and replicate, rows in the order of `coalitions`."""
    strategy = CoalitionStrategy(job.federation.roster, coalitions, job.config.compute.dtype)
    initial = {
        words.stack_key(model.name, r): model.initial_params(job.config.seed, r)[None].numpy()
        for model in job.small
        for r in range(job.config.training.seeds)
    }

    def advance(_round: int, _arrays: ArrayRecord) -> None:
        after_round()

    return to_numpy(job.run_rounds(strategy, to_record(initial), 1, what, advance))


def _score(job: Job, coalitions: list[int], stacks: Stacks, what: str) -> tuple[list[Score], Wave]:
    """Scores of every model on the wave, and what the largest lost on each validation example."""
    scores: list[Score] = []
    largest_losses_CV = np.zeros(())
    for model in job.small:
        sum_CV = np.zeros(())
        for replicate in range(job.config.training.seeds):
            stack = torch.tensor(stacks[words.stack_key(model.name, replicate)])
            losses, hits = job.validation.losses(model, stack, what)
            means = zip(coalitions, mean_scores(losses, hits), strict=True)
            scores += [Score(coalition, model.name, replicate, *mean) for coalition, mean in means]
            sum_CV = sum_CV + losses.numpy()
        largest_losses_CV = sum_CV / job.config.training.seeds
    return scores, Wave(coalitions, largest_losses_CV)


def _values(job: Job, coalitions: Sequence[int], losses_CV: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, V) part of the Shapley values that these coalitions contribute."""
    part_NV: NDArray[np.float64] = semivalue_coefficients(coalitions, job.config.n_companies, "shapley").T @ -losses_CV
    return part_NV


def _flops(job: Job, coalitions: list[int]) -> float:
    examples_N = np.array([job.examples[company] for company in job.config.companies])
    rows = float((members_matrix(coalitions, job.config.n_companies) @ examples_N).sum())
    training = job.config.training
    return training.seeds * sum(job.training_flops(model, rows, training.rounds) for model in job.small)
