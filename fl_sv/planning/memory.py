"""Peak memory of a run on this machine.

A run is at its peak when a large model is trained, in the sweep, when the messages of two waves are
in memory, or afterwards, when law and values of all coalitions are computed.
`python -m benchmarks.memory` compares the forecast with real runs; docs/benchmarks.md has the
result. All factors below were fitted to these runs (2 CPU cores, flwr 1.41, ray 2.55.1, torch 2.13,
2026-11).
"""

import math

import numpy as np

from fl_sv.config import Config
from fl_sv.config.models import Mlp, optimizer_of
from fl_sv.config.strategies import is_the_game
from fl_sv.data import Scaling
from fl_sv.design.waves import IN_FLIGHT
from fl_sv.design.workloads import PlannedRun, TeacherWorkload, Workload
from fl_sv.machine import LARGE_BYTES
from fl_sv.training.models import ModelSpec
from fl_sv.training.traced import MOST_GRAPHS

PROCESS_BYTES = 450_000_000  # a process with torch and Flower loaded
RAY_BYTES = 350_000_000  # Ray's own processes
GRAPH_BYTES = 2_000_000  # of a traced step (`fl_sv.training.traced`)
SHAPES = 2  # of a step: a batch, and the last one of an epoch
# --- of a wave ------------------------------------------------------------------------------------
COPIES_OF_STACKS = 2  # as arrays and as bytes
COPIES_IN_TRAINING = 3  # what a worker received, trains and sends
MOMENTS = {"sgd": 0, "adam": 2, "adamw": 2}  # beside these copies; momentum of sgd is one
ARRIVING_BYTES = 512_000_000  # of large replies that come between two looks, or more by workers
# Of a model in float64, for a strategy other than FedAvg: its state, its sums, what it makes of the
# replies. Those that add up hold the replies once; others sort or compare copies of them.
COPIES_OF_STRATEGY, COPIES_OF_REPLIES = 12, 3
ADDING = ("fedadagrad", "fedadam", "fedavgm", "fedyogi")
COPIES_OF_LOSSES = 4  # by example, in float64
SCORE_BYTES = 400  # of a training on its way into the journal
# --- of law and values ----------------------------------------------------------------------------
COALITION_BYTES = 600  # bitmasks, members, predictions and intervals
TRAINING_BYTES = 80  # a score: in the table, in its copy with the companies reversed, for the law
COVARIANCE_BYTES = 100  # of a covariance between two coalitions, of which one is a large run,
SAMPLE_BLOCK = 512  # or in a sample one of a block (`fl_sv.law.posterior`)


def workers(config: Config, *, on_ray: bool) -> int:
    """How many companies train at the same time on this machine."""
    return config.compute.at_once if on_ray else config.compute.threads_at_once


def peak_memory(
    config: Config,
    run: PlannedRun,
    large: ModelSpec,
    scaling: Scaling,
    n_validation: int,
    n_workers: int,
    *,
    on_ray: bool,
) -> int:
    """Bytes of all processes of the run at its peak.

    n_validation: rows of the validation set.
    n_workers: companies that train at the same time on this machine.
    """
    processes = PROCESS_BYTES * (n_workers + 1) + RAY_BYTES if on_ray else PROCESS_BYTES
    itemsize = np.dtype(config.compute.dtype).itemsize
    in_waves = [workload for workload in run.large_runs if not workload.by_itself]
    stages: list[list[Workload]] = [*run.sweep, in_waves, [*run.rates]]
    waves = max(_waves_bytes(config, stage, itemsize, n_validation, n_workers) for stage in stages)
    single = [*run.teacher, *(load for load in run.large_runs if load.by_itself)]
    alone = [_models_bytes(config, load, itemsize, n_workers) for load in single]
    frozen = large.n_params_in_all - large.n_params  # one set in every process, and one to make it
    return int(
        processes
        + _graphs_bytes(config) * (n_workers if on_ray else 1)
        + max(waves, *alone, _settlement_bytes(config, run))
        + frozen * itemsize * (2 + n_workers * on_ray)
        + _outputs_bytes(config, scaling, n_validation)
        + _transfer_bytes(config, large, scaling)
    )


def _graphs_bytes(config: Config) -> int:
    """Of a process that trains companies: the traced steps of all models but MLPs, at most."""
    n_models = sum(not isinstance(model, Mlp) for model in config.models.small)
    return GRAPH_BYTES * min(MOST_GRAPHS, SHAPES * n_models * config.n_companies)


def outputs_of_a_model(config: Config, scaling: Scaling, n_validation: int) -> int:
    """Bytes of a model's outputs on the validation rows, as the journal keeps them."""
    itemsize = np.dtype(config.compute.dtype).itemsize
    return n_validation * scaling.task.outputs_of_a_row * itemsize


def kept_rounds(config: Config, large: ModelSpec) -> int:
    """Bytes of the rounds of the teacher that `teacher.keep` asks for, beside the deployed one."""
    rounds = {"last": 0, "best": 1, "rounds": config.training.rounds}[config.teacher.keep]
    return rounds * large.n_params_in_all * np.dtype(config.compute.dtype).itemsize


def disk_space(
    config: Config, run: PlannedRun, large: ModelSpec, scaling: Scaling, n_validation: int
) -> int:
    """Bytes on the server's disk for the large messages and models of a run, at their peak.

    Large replies wait there for the others; the journal keeps the last round of each large run, and
    the outputs of the companies' own models. The deployed model is written when no reply waits.
    """
    itemsize = np.dtype(config.compute.dtype).itemsize
    replies = [_messages_bytes(load, itemsize) for load in run.all if waits_on_disk(load, itemsize)]
    deployed = large.n_params_in_all * itemsize
    kept = [load.params_of_a_coalition * itemsize for load in run.teacher]
    # The round before goes when the next one is there.
    stacks = [2 * _stack_bytes(load, itemsize) for load in run.large_runs if not load.by_itself]
    alone = sum(
        len(load.models) * len(load.replicates) * sum(c.bit_count() == 1 for c in load.coalitions)
        for load in (*(wave for step in run.sweep for wave in step), *run.large_runs)
    )
    return int(
        max(*replies, deployed, 0)
        + sum(kept)
        + max(*kept, *stacks, 0)
        + kept_rounds(config, large)
        + alone * outputs_of_a_model(config, scaling, n_validation)
    )


def need_remarks(config: Config, run: PlannedRun, large: ModelSpec) -> list[str]:
    """What a strategy, or kept rounds, take where that is much."""
    return [*strategy_remarks(config, run), *keep_remarks(config, large)]


def keep_remarks(config: Config, large: ModelSpec) -> list[str]:
    """What the kept rounds take on the disk, where that is much."""
    if (needed := kept_rounds(config, large)) <= LARGE_BYTES:
        return []
    return [
        f"teacher.keep: {config.teacher.keep} takes {needed / 1e9:.1f} GB of the disk beside the"
        " deployed model."
    ]


def _models_bytes(config: Config, load: Workload, itemsize: int, n_workers: int) -> float:
    """Bytes of the large models of a teacher's training or of the singletons, at their peak.

    One model is sent to all. While companies train, replies come; then they are averaged, by
    Flower's strategies in float64.
    """
    model = load.params_of_a_coalition * itemsize
    replies = _replies_bytes(load, itemsize, n_workers)
    copies = COPIES_IN_TRAINING + _moments(config)
    training = (1 + copies * n_workers) * model + replies
    if isinstance(load, TeacherWorkload) and load.by_strategy:
        return max(training, _strategy_bytes(config, load))
    return training


def _moments(config: Config) -> int:
    """Copies of a model that its optimiser holds while it trains."""
    models = (*config.models.small, config.models.large)
    optimizers = [optimizer_of(model, config.training) for model in models]
    return max(MOMENTS[each.kind] or bool(each.momentum) for each in optimizers)


def _strategy_bytes(config: Config, teacher: TeacherWorkload) -> float:
    """Bytes of all replies and of the models that the teacher's strategy makes, in float64.

    None for FedAvg, which is computed in blocks (`strategies/mean.py`).
    """
    if is_the_game(config.teacher.strategy):
        return 0.0
    return 8 * teacher.params_of_a_coalition * _strategy_copies(config)


def _strategy_copies(config: Config) -> int:
    held = 1 if config.teacher.strategy in ADDING else COPIES_OF_REPLIES
    return held * config.n_companies + COPIES_OF_STRATEGY


def strategy_remarks(config: Config, run: PlannedRun) -> list[str]:
    """What the teacher's strategy costs, where the model is large and it is not FedAvg."""
    itemsize = np.dtype(config.compute.dtype).itemsize
    teacher = run.teacher[0]
    needed = _strategy_bytes(config, teacher)
    if not needed or not waits_on_disk(teacher, itemsize):
        return []
    model = teacher.params_of_a_coalition * itemsize
    return [
        f"teacher.strategy: {config.teacher.strategy} holds the replies of all companies in memory,"
        f" in float64 and with what it makes of them about {_strategy_copies(config)} models,"
        f" {needed / 1e9:.1f} GB. fedavg holds 3 models as they travel, {3 * model / 1e9:.1f} GB."
    ]


def _waves_bytes(
    config: Config, waves: list[Workload], itemsize: int, n_validation: int, n_workers: int
) -> float:
    """Bytes of the waves in flight: one is averaged or scored, others are with the companies."""
    largest_first = sorted(waves, key=lambda each: _messages_bytes(each, itemsize), reverse=True)
    if not largest_first:
        return 0.0
    wave, *others = largest_first[:IN_FLIGHT]
    averaged = _sent_bytes(wave, itemsize) + _answered_bytes(wave, itemsize, n_workers)
    averaged += n_workers * _moments_bytes(config, wave, itemsize)
    scored = _scoring_bytes(wave, itemsize, n_validation)
    return max(averaged, scored) + sum(_sent_bytes(other, itemsize) for other in others)


def _stack_bytes(wave: Workload, itemsize: int) -> float:
    """Bytes of the models of all coalitions of a wave."""
    return wave.params_of_a_coalition * itemsize * len(wave.coalitions)


def _messages_bytes(wave: Workload, itemsize: int) -> float:
    """Bytes of the models of a wave that all companies get, or send back."""
    memberships = sum(coalition.bit_count() for coalition in wave.coalitions)
    return wave.params_of_a_coalition * itemsize * memberships


def waits_on_disk(load: Workload, itemsize: int) -> bool:
    """Whether the companies' replies are so large that they wait on disk."""
    of_a_company = _messages_bytes(load, itemsize) / load.companies.bit_count()
    return of_a_company > LARGE_BYTES


def _replies_bytes(load: Workload, itemsize: int, n_workers: int) -> float:
    """Bytes of the replies in memory: of all companies, or before they are on disk."""
    replies = _messages_bytes(load, itemsize)
    if not waits_on_disk(load, itemsize):
        return replies
    at_work = replies * n_workers / load.companies.bit_count()
    return min(replies, max(at_work, ARRIVING_BYTES))


def _sent_bytes(wave: Workload, itemsize: int) -> float:
    """Bytes of messages to the companies; in the first round one model travels for all."""
    if wave.exchanges == 1:
        return 0.0
    return _messages_bytes(wave, itemsize) + COPIES_OF_STACKS * _stack_bytes(wave, itemsize)


def _answered_bytes(wave: Workload, itemsize: int, n_workers: int) -> float:
    """Bytes of the replies to a wave, of their average, and of the training for the last ones."""
    # A company belongs to half of the coalitions.
    copies = COPIES_OF_STACKS + COPIES_IN_TRAINING * n_workers / 2
    return _replies_bytes(wave, itemsize, n_workers) + copies * _stack_bytes(wave, itemsize)


def _moments_bytes(config: Config, wave: Workload, itemsize: int) -> float:
    """Bytes of the optimiser's copies of the models that a worker trains as one stack."""
    stack = min(len(wave.coalitions), config.compute.chunk)
    return _moments(config) * stack * max(model.n_params for model in wave.models) * itemsize


def _scoring_bytes(wave: Workload, itemsize: int, n_validation: int) -> float:
    """Bytes of a trained wave while it is scored and enters the journal."""
    losses = COPIES_OF_LOSSES * 8 * n_validation * len(wave.coalitions)
    return COPIES_OF_STACKS * _stack_bytes(wave, itemsize) + losses + SCORE_BYTES * wave.trainings


def _settlement_bytes(config: Config, run: PlannedRun) -> float:
    """Bytes of the utility table, the law and the values of all coalitions."""
    waves = [wave for step in run.sweep for wave in step]
    coalitions = sum(len(wave.coalitions) for wave in waves)
    large_runs = sum(len(workload.coalitions) for workload in run.large_runs)
    covariances = large_runs if config.coalitions.design == "all" else large_runs + SAMPLE_BLOCK
    return (
        COALITION_BYTES * coalitions
        + TRAINING_BYTES * sum(wave.trainings for wave in waves)
        + COVARIANCE_BYTES * coalitions * covariances
    )


def _outputs_bytes(config: Config, scaling: Scaling, n_validation: int) -> float:
    """Bytes of the outputs of the companies' own models, and of their sums, while averaged."""
    return 2 * 8 * config.n_companies * n_validation * scaling.task.outputs_of_a_row


def _transfer_bytes(config: Config, large: ModelSpec, scaling: Scaling) -> float:
    """Bytes of the deployed student's rows, with the teacher's activations and their gradients."""
    from fl_sv.training.deployed import n_rows

    if config.deployed is None:
        return 0.0
    inputs = math.prod(scaling.task.input_shape)
    activations = large.forward_flops / (2 * inputs)  # about the units of an MLP
    rows = n_rows(config, config.deployed, scaling)
    return rows * 4 * (inputs + activations) * np.dtype(config.compute.dtype).itemsize
