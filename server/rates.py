"""Learning rates that the config leaves to the run (`auto`): tried, and one of them taken.

All companies train a model at every rate that is tried, as FedAvg does, in one message for a
company and round. The operator scores the results on the tuning set. A training that diverges ends
there, and its rate is out. `fl_sv.design.rates` has the rule of the choice.
"""

import math

from flwr.app import ArrayRecord
from numpy.typing import NDArray

from fl_sv.design.rates import TUNING_SEED, TriedRate, TriedRates, rates_to_try
from fl_sv.design.workloads import RATES, RatesWorkload, rates_workloads
from fl_sv.flower import wire
from fl_sv.progress import Bar
from fl_sv.training.models import ModelSpec, as_tensor
from fl_sv.training.pairs import pairs_of
from fl_sv.training.scoring import ValidationSet
from fl_sv.training.stack import score_stack
from server.interleave import run_to_end
from server.job import Job
from strategies.coalitions import RatesStrategy
from strategies.roster import to_numpy, to_record

Candidate = tuple[str, float]  # model and learning rate


def choose_rates(job: Job) -> Job:
    """The job with a learning rate for every model; the same job where the config states them all.

    What was tried goes into the journal, once.

    Raises RunError when the training of a model diverges at every rate.
    """
    if job.tuning is None:
        return job
    waves = rates_workloads(job.config, job.small, job.large)
    with job.progress.stage(RATES, sum(wave.rounds for wave in waves), "rounds") as bar:
        for wave in waves:
            _try(job, job.tuning, wave, bar)
    tried = {(each.model, each.rate): each for each in job.journal.tried_rates()}
    due = [(model, rate) for model, rates in rates_to_try(job.config).items() for rate in rates]
    return job.at(TriedRates(job.config, len(job.tuning.y), tuple(tried[each] for each in due)))


def _try(job: Job, tuning: ValidationSet, wave: RatesWorkload, bar: Bar) -> None:
    """Trains the candidates of a wave, from the last round in the journal to the end."""
    ended = {(each.model, each.rate) for each in job.journal.tried_rates()}
    alive = [candidate for candidate in wave.candidates if candidate not in ended]
    if not alive:
        bar.skip(wave.rounds)
        return
    key_of = {each: wire.stack_key(wire.candidate(*each), TUNING_SEED) for each in wave.candidates}
    models = {model.name: model for model in (*job.small, job.large)}
    untrained = {m: tuning.untrained(models[m], TUNING_SEED)[1].loss for m, _ in alive}
    done, stacks = job.journal.stacks(wave.name)
    if not done:
        stacks = {key_of[each]: _initial(job, models[each[0]]) for each in alive}
    bar.skip(done)
    told = {wire.candidate(*each): each[1] for each in wave.candidates}
    roster = job.federation.telling(told).roster
    pairs = {key_of[each]: pairs_of(models[each[0]]) for each in alive}
    strategy = RatesStrategy(roster, [*wave.coalitions], job.config.compute.dtype, pairs)

    def outcome(each: Candidate, server_round: int, loss: float | None) -> TriedRate:
        company = strategy.diverged.get(key_of[each], "")
        return TriedRate(*each, server_round, company, untrained[each[0]], loss)

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        nonlocal alive
        job.meter.add(job.flops_of_a_round(wave.only(alive)))
        trained = to_numpy(arrays)
        tried = [outcome(each, server_round, None) for each in alive if key_of[each] not in trained]
        alive = [each for each in alive if key_of[each] in trained]
        if server_round == wave.rounds:
            for each in alive:
                loss = _loss(tuning, models[each[0]], trained[key_of[each]])
                tried.append(outcome(each, server_round, loss))
            trained = {}
        job.journal.keep_stacks(wave.name, server_round, trained, tried)
        bar.advance(1 if alive else wave.rounds - server_round + 1)

    what = f"trying learning rates ({wave.name})"
    with job.meter.stage(wave.stage):
        run_to_end(job.run_rounds(strategy, to_record(stacks), done + 1, what, after_round))


def _initial(job: Job, model: ModelSpec) -> NDArray:
    """The untrained model as a stack of one. All rates start from the same one."""
    return model.initial_params(job.config.seed, TUNING_SEED)[None].numpy()


def _loss(tuning: ValidationSet, model: ModelSpec, stack: NDArray) -> float | None:
    """The mean loss of a trained model, a stack of one; None where it is not finite."""
    params = as_tensor(stack).to(tuning.config.compute.device)
    model, x = tuning.states.given_to(model)
    losses, *_ = score_stack(model, params, x, tuning.y, chunk=1)
    loss = float(losses.mean())
    return loss if math.isfinite(loss) else None
