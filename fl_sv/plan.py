"""What a run will cost, before anything trains, and whether it can be done at all."""

import json
import math
import os
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_

import numpy as np
import psutil

from fl_sv.anchors import anchor_load
from fl_sv.config import Config
from fl_sv.config.schema import PublicRows
from fl_sv.data import company_data, operator_data, public_rows
from fl_sv.design import check_design, design_steps
from fl_sv.errors import InputError
from fl_sv.strategy_facts import check_strategy, is_the_game
from fl_sv.waves import bytes_per_coalition, plan_waves

# Measured on 2 CPU cores, flwr 1.41, ray 2.55.1, 2026-11: `fl-sv run configs/smoke.yaml` with and without Ray.
RAY_START_SECONDS = 12.0
PROCESS_BYTES = 700_000_000  # a process with torch and Flower loaded
ROUND_SECONDS = 0.15  # one exchange of empty messages with all companies


@dataclass(frozen=True)
class Plan:
    """The forecast of a run, for a sampled design that grows to its end. Seconds are wall time on this machine with the
    configured workers."""

    n_companies: int
    sampled: bool  # a design that may stop earlier
    coalitions: int
    trainings: int  # of whole models, small and large
    messages: int  # from the server to companies
    bytes: int  # parameters in messages, both ways
    peak_memory_bytes: int
    seconds: float
    available_memory_bytes: int
    large_runs_of_grand_coalition: int
    large_runs_of_other_coalitions: int
    sweep_share_of_teacher_flops: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)


def check(config: Config, *, own_data: bool = True) -> dict[str, int]:
    """Everything about a config that can be wrong and is known without torch or Flower.

    Returns each company's number of examples. `own_data=False` leaves out the companies' own files, which on a real
    federation are not the server's to read. Raises InputError.
    """
    check_design(config)
    check_strategy(config)
    scaling = operator_data(config).scaling
    if config.deployed is not None and isinstance(config.deployed.transfer_set, PublicRows):
        public_rows(config, scaling)
    if config.data.source == "own" and not own_data:
        return {}
    return {company: len(company_data(config, company, scaling)) for company in config.companies}


def forecast(config: Config, examples: dict[str, int], *, on_ray: bool = True) -> Plan:
    """The plan of a checked config; trains a few batches of each size to learn how fast this machine is.

    Raises InputError when a model does not fit the data, or the run does not fit this machine's memory or
    compute.max_hours.
    """
    from fl_sv.calibration import seconds_per_row  # torch from here on
    from fl_sv.models import model_specs

    small, large = model_specs(config, operator_data(config).task)
    training, n = config.training, config.n_companies
    rows_N = np.array([examples[company] for company in config.companies], dtype=np.float64)
    sizes = [model.n_params for model in small]
    steps = design_steps(config)
    waves = [wave for step in steps for wave in plan_waves(config, sizes, step.added)]
    trained = len(steps[-1].coalitions) - 1
    deployed_extra = 0 if is_the_game(config.teacher.strategy) else 1
    large_runs = training.large_seeds + deployed_extra
    anchors = anchor_load(config, large.n_params, int(rows_N.sum()))

    itemsize = np.dtype(config.compute.dtype).itemsize
    per_coalition = bytes_per_coalition(config, sizes)
    large_bytes = large.n_params * itemsize
    half = (trained + 1) // 2  # coalitions that a company belongs to; a sample is made of pairs, too
    # Companies that belong to a coalition of a wave, over all waves: their first round's model is the same for all.
    taking_part = sum(reduce(or_, wave).bit_count() for wave in waves)
    large_messages = n * training.rounds * large_runs
    n_bytes = 2 * (
        per_coalition * (taking_part + half * n * (training.rounds - 1))
        + large_bytes * (large_messages + anchors.models)
    )
    # The finished teacher goes to every company once a step of the design, and nothing comes back.
    listening = n * len(steps) * bool(config.students)
    n_bytes += large_bytes * listening

    workers = (config.compute.workers or os.cpu_count() or 1) if on_ray else 1
    # A wave of small models, or one of large ones: float64 sums, records, messages under way.
    widest = max(max(map(len, waves)) * per_coalition, anchors.widest * large_bytes)
    memory = (workers * on_ray + 1) * PROCESS_BYTES + widest * (6 + 4 * min(n, workers + 2)) + large_bytes * (8 + 4 * n)
    memory += int(_transfer_bytes(config, large.forward_flops))
    free = psutil.virtual_memory().available
    if memory > free:
        raise InputError(
            f"The run needs about {memory / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free. Lower "
            "coalitions.wave_megabytes, compute.workers, the width of the large model or a transfer set's rows."
        )

    epochs = training.local_epochs * training.rounds
    stacked, students = min(half, config.compute.chunk), bool(config.students)
    small_seconds = sum(seconds_per_row(config, model, stacked=stacked, students=students) for model in small)
    sweep = small_seconds * float(rows_N.sum()) * half * epochs * training.seeds / min(workers, n)
    large_row = seconds_per_row(config, large, stacked=1)
    # A round waits for its largest company, however many workers there are.
    teacher = large_row * max(float(rows_N.sum()) / min(workers, n), float(rows_N.max())) * epochs * large_runs
    extra = large_row * anchors.rows * epochs / min(workers, n)
    student = _student_seconds(config, large_row)
    exchanges = training.rounds * (large_runs + len(waves)) + anchors.exchanges + 1 + students
    seconds = sweep + teacher + extra + student + (exchanges * ROUND_SECONDS + RAY_START_SECONDS if on_ray else 0.0)
    if seconds > config.compute.max_hours * 3600:
        raise InputError(
            f"The run is expected to take {seconds / 3600:.1f} hours on this machine; compute.max_hours is "
            f"{config.compute.max_hours:g}. Take fewer companies, sizes, seeds or rounds, or raise the limit."
        )
    small_flops = sum(model.forward_flops for model in small) * float(rows_N.sum()) * half * training.seeds
    return Plan(
        n_companies=n,
        sampled=config.coalitions.design == "sampled",
        coalitions=trained + 1,
        trainings=trained * len(small) * training.seeds + large_runs + anchors.trainings + bool(config.deployed),
        messages=n + large_messages + taking_part * training.rounds + anchors.messages + listening,
        bytes=int(n_bytes),
        peak_memory_bytes=int(memory),
        seconds=round(seconds, 1),
        available_memory_bytes=int(free),
        large_runs_of_grand_coalition=large_runs,
        large_runs_of_other_coalitions=anchors.trainings,
        sweep_share_of_teacher_flops=small_flops / (large.forward_flops * float(rows_N.sum()) * large_runs),
    )


def _student_seconds(config: Config, large_row: float) -> float:
    """Of the deployed student, `large_row` being a training step of the teacher on a row; 0 when there is none."""
    from fl_sv.calibration import seconds_per_row
    from fl_sv.deployed import deployed_spec, n_rows, teacher_passes

    if config.deployed is None:
        return 0.0
    scaling = operator_data(config).scaling
    rows = n_rows(config, config.deployed, scaling)
    row = seconds_per_row(config, deployed_spec(config, config.deployed, scaling), stacked=1)
    return rows * (config.deployed.epochs * row + teacher_passes(config.deployed, rows) * large_row)


def _transfer_bytes(config: Config, forward_flops: int) -> float:
    """What the deployed student's rows take at once, with the teacher's activations and their gradients."""
    from fl_sv.deployed import n_rows

    if config.deployed is None:
        return 0.0
    scaling = operator_data(config).scaling
    inputs = math.prod(scaling.task.input_shape)
    activations = forward_flops / (2 * inputs)  # about the units of an MLP
    return (
        n_rows(config, config.deployed, scaling) * 4 * (inputs + activations) * np.dtype(config.compute.dtype).itemsize
    )


def plan_text(plan: Plan) -> str:
    """The forecast as a person reads it."""
    minutes = plan.seconds / 60
    duration = f"{plan.seconds:.0f} s" if minutes < 2 else f"{math.ceil(minutes)} min"
    return "\n".join(
        [
            f"companies              {plan.n_companies}",
            f"coalitions             {plan.coalitions:,}" + (" at most" if plan.sampled else ""),
            f"trainings              {plan.trainings:,} (large model on the grand coalition: "
            f"{plan.large_runs_of_grand_coalition}, on others: {plan.large_runs_of_other_coalitions})",
            f"messages               {plan.messages:,}",
            f"bytes                  {plan.bytes / 1e6:,.1f} MB",
            f"peak memory            {plan.peak_memory_bytes / 1e9:.1f} GB "
            f"of {plan.available_memory_bytes / 1e9:.1f} GB free",
            f"expected time          {duration}",
            f"sweep / teacher FLOPs  {plan.sweep_share_of_teacher_flops:.2f}",
        ]
    )
