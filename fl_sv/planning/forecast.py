"""What a run will cost, before anything trains, and whether it can be done at all."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import numpy as np
import psutil

from fl_sv.config import Config
from fl_sv.config.models import Module
from fl_sv.config.strategies import check_strategy, is_the_game
from fl_sv.config.students import PublicRows
from fl_sv.data import company_data, operator_data, public_rows
from fl_sv.design.large_runs import anchor_load
from fl_sv.design.sample import check_design, design_steps
from fl_sv.design.waves import IN_FLIGHT, bytes_per_coalition, plan_waves
from fl_sv.errors import InputError
from fl_sv.valuation.fit import try_law

if TYPE_CHECKING:
    from fl_sv.training.models import ModelSpec

# Measured on 2 CPU cores, flwr 1.41, ray 2.55.1, 2026-11: `fl-sv run configs/smoke.yaml` with and
# without Ray.
RAY_START_SECONDS = 12.0
PROCESS_BYTES = 700_000_000  # a process with torch and Flower loaded
ROUND_SECONDS = 0.15  # one exchange of empty messages with all companies
REMOTE_ROUND_SECONDS = (
    5,
    10,
)  # the same across companies: a new process at each (docs/federation.md)


@dataclass(frozen=True)
class Plan:
    """The forecast of a run, for a sampled design that grows to its end."""

    n_companies: int
    sampled: bool  # a design that may stop earlier
    coalitions: int
    trainings: int  # of whole models, small and large
    messages: int  # from the server to companies
    exchanges: int  # of messages with all companies at once, one after the other
    bytes: int  # parameters in messages, both ways
    peak_memory_bytes: int
    seconds: (
        float | None
    )  # wall time on this machine with the configured workers; None: the rows are not here
    available_memory_bytes: int
    large_runs_of_grand_coalition: int
    large_runs_of_other_coalitions: int
    sweep_share_of_teacher_flops: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def check(config: Config, *, own_data: bool = True) -> dict[str, int]:
    """Everything about a config that can be wrong and is known without torch or Flower.

    Returns each company's number of examples. `own_data=False` leaves out the companies' own files,
    which on a real federation are not the server's to read. Raises InputError."""
    check_design(config)
    check_strategy(config)
    try_law(config)
    scaling = operator_data(config).scaling
    if config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows):
        public_rows(config, scaling)
    if config.data.source == "own" and not own_data:
        return {}
    return {company: len(company_data(config, company, scaling)) for company in config.companies}


def forecast(config: Config, examples: dict[str, int], *, on_ray: bool = True) -> Plan:
    """The plan of a checked config; trains a few batches of each size to learn how fast this
    machine is.

    Without `examples` the companies' rows are on machines of their own, whose time is not forecast.
    Raises InputError when a model does not fit the data, or the run does not fit this machine's
    memory or compute.max_hours."""
    from fl_sv.training.models import model_specs  # torch from here on

    small, large = model_specs(config, operator_data(config).task)
    training, n = config.training, config.n_companies
    on_ray = on_ray and bool(examples)
    sizes = [model.n_params for model in small]
    steps = design_steps(config)
    waves_by_step = [plan_waves(config, sizes, step.added) for step in steps]
    waves = [wave for step in waves_by_step for wave in step]
    trained = len(steps[-1].coalitions) - 1
    deployed_extra = 0 if is_the_game(config.teacher.strategy) else 1
    large_runs = training.large_seeds + deployed_extra
    anchors = anchor_load(config, large.n_params, sum(examples.values()))

    itemsize = np.dtype(config.compute.dtype).itemsize
    per_coalition = bytes_per_coalition(config, sizes)
    large_bytes = large.n_params * itemsize
    half = (
        trained + 1
    ) // 2  # coalitions that a company belongs to; a sample is made of pairs, too
    # Companies that belong to a coalition of a wave, over all waves: their first round's model is
    # the same for all.
    taking_part = sum(reduce(or_, wave).bit_count() for wave in waves)
    large_messages = n * training.rounds * large_runs
    n_bytes = 2 * (
        per_coalition * (taking_part + half * n * (training.rounds - 1))
        + large_bytes * (large_messages + anchors.models)
    )
    # The finished teacher goes to every company once a step of the design, and nothing comes back.
    listenings = len(steps) * bool(config.students)
    n_bytes += large_bytes * n * listenings

    workers = _workers(config, on_ray) if examples else 1
    # Waves of small models, or one of large ones: averages, records, messages under way.
    in_flight = max(sum(sorted(map(len, step))[-IN_FLIGHT:]) for step in waves_by_step)
    widest = max(in_flight * per_coalition, anchors.widest * large_bytes)
    memory = (
        (workers * on_ray + 1) * PROCESS_BYTES
        + widest * (6 + 4 * min(n, workers + 2))
        + large_bytes * (8 + 4 * n)
    )
    memory += int(_transfer_bytes(config, large.forward_flops))
    free = psutil.virtual_memory().available
    if memory > free:
        raise InputError(
            f"The run needs about {memory / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free."
            " Lower coalitions.wave_megabytes, compute.workers, the width of the large model or a"
            " transfer set's rows."
        )

    exchanges = training.rounds * (large_runs + len(waves)) + anchors.exchanges + 1 + listenings
    seconds = None
    if examples:
        seconds = _training_seconds(
            config, examples, small, large, half, large_runs, anchors.rows, min(workers, n)
        )
        seconds += exchanges * ROUND_SECONDS + RAY_START_SECONDS if on_ray else 0.0
    if seconds is not None and seconds > config.compute.max_hours * 3600:
        raise InputError(
            f"The run is expected to take {seconds / 3600:.1f} hours on this machine;"
            f" compute.max_hours is {config.compute.max_hours:g}. Take fewer companies, sizes,"
            " seeds or rounds, or raise the limit."
        )
    small_flops = sum(model.forward_flops for model in small) * half * training.seeds  # a row
    return Plan(
        n_companies=n,
        sampled=config.coalitions.design == "sampled",
        coalitions=trained + 1,
        trainings=trained * len(small) * training.seeds
        + large_runs
        + anchors.trainings
        + bool(config.deployed),
        messages=n
        + large_messages
        + taking_part * training.rounds
        + anchors.messages
        + n * listenings,
        exchanges=exchanges,
        bytes=int(n_bytes),
        peak_memory_bytes=int(memory),
        seconds=None if seconds is None else round(seconds, 1),
        available_memory_bytes=int(free),
        large_runs_of_grand_coalition=large_runs,
        large_runs_of_other_coalitions=anchors.trainings,
        sweep_share_of_teacher_flops=small_flops / (large.forward_flops * large_runs),
    )


def _workers(config: Config, on_ray: bool) -> int:
    """Companies that train side by side on this machine. In one process users' modules train one
    after the other.
    """
    if on_ray:
        return config.compute.at_once
    models = (*config.models.small, config.models.large)
    return (
        1 if any(isinstance(model, Module) for model in models) else config.compute.threads_at_once
    )


def _training_seconds(
    config: Config,
    examples: dict[str, int],
    small: Sequence["ModelSpec"],
    large: "ModelSpec",
    stacked: int,
    large_runs: int,
    anchor_rows: float,
    workers: int,
) -> float:
    """Of a sweep of `stacked` coalitions a company, the teacher and other large runs, and the
    deployed student.
    """
    from fl_sv.planning.calibration import seconds_per_row

    training, students = config.training, bool(config.students)
    chunk = min(stacked, config.compute.chunk)
    small_row = sum(
        seconds_per_row(config, model, stacked=chunk, students=students) for model in small
    )
    large_row = seconds_per_row(config, large, stacked=1)
    rows = sum(examples.values())
    sweep = small_row * rows * stacked * training.seeds / workers
    # A round waits for its largest company, however many workers there are.
    teacher = large_row * max(rows / workers, max(examples.values())) * large_runs
    epochs = training.local_epochs * training.rounds
    return epochs * (sweep + teacher + large_row * anchor_rows / workers) + _student_seconds(
        config, large_row
    )


def _student_seconds(config: Config, large_row: float) -> float:
    """Of the deployed student, `large_row` being a training step of the teacher on a row; 0 when
    there is none.
    """
    from fl_sv.planning.calibration import seconds_per_row
    from fl_sv.training.deployed import deployed_spec, n_rows, teacher_passes

    if config.deployed is None:
        return 0.0
    scaling = operator_data(config).scaling
    rows = n_rows(config, config.deployed, scaling)
    row = seconds_per_row(config, deployed_spec(config, config.deployed, scaling), stacked=1)
    return rows * (config.deployed.epochs * row + teacher_passes(config.deployed, rows) * large_row)


def _transfer_bytes(config: Config, forward_flops: int) -> float:
    """What the deployed student's rows take at once, with the teacher's activations and their
    gradients.
    """
    from fl_sv.training.deployed import n_rows

    if config.deployed is None:
        return 0.0
    scaling = operator_data(config).scaling
    inputs = math.prod(scaling.task.input_shape)
    activations = forward_flops / (2 * inputs)  # about the units of an MLP
    return (
        n_rows(config, config.deployed, scaling)
        * 4
        * (inputs + activations)
        * np.dtype(config.compute.dtype).itemsize
    )


def plan_text(plan: Plan) -> str:
    """The forecast as a person reads it."""
    duration = (
        "not known: the companies' files are not here"
        if plan.seconds is None
        else _duration(plan.seconds)
    )
    least, most = (_duration(plan.exchanges * seconds) for seconds in REMOTE_ROUND_SECONDS)
    return "\n".join(
        [
            f"companies              {plan.n_companies}",
            f"coalitions             {plan.coalitions:,}" + (" at most" if plan.sampled else ""),
            (
                f"trainings              {plan.trainings:,} (large model on the grand coalition:"
                f" {plan.large_runs_of_grand_coalition}, on others:"
                f" {plan.large_runs_of_other_coalitions})"
            ),
            f"messages               {plan.messages:,}",
            f"bytes                  {plan.bytes / 1e6:,.1f} MB",
            (
                f"peak memory            {plan.peak_memory_bytes / 1e9:.1f} GB "
                f"of {plan.available_memory_bytes / 1e9:.1f} GB free"
            ),
            f"expected time          {duration}",
            (
                f"across companies       {plan.bytes / plan.n_companies / 1e6:,.1f} MB each, and"
                f" {least} to {most} more: {plan.exchanges} exchanges of messages"
            ),
            f"sweep / teacher FLOPs  {plan.sweep_share_of_teacher_flops:.2f}",
        ]
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{math.ceil(seconds / 60)} min"
