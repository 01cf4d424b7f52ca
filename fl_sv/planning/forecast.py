"""What a run will cost, before anything trains: the sum over its workloads.

Shapes: N companies.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.design.large_runs import further_seeds
from fl_sv.design.sample import design_steps
from fl_sv.design.workloads import (
    SWEEP,
    TEACHER,
    PlannedRun,
    averaged_evaluations,
    expected_large_runs,
    planned_run,
)
from fl_sv.errors import InputError
from fl_sv.machine import LARGE_BYTES, free_memory
from fl_sv.planning.checks import CheckedData

if TYPE_CHECKING:
    from fl_sv.planning.stages import PlannedStage
    from fl_sv.planning.states import PlannedStates
    from fl_sv.training.models import ModelSpec

# Seconds of one exchange of messages across companies, which start a process for each
# (docs/federation.md): from, to.
REMOTE_ROUND_SECONDS = (5, 10)
MOST_OUTPUTS = 1_000_000_000  # bytes: SQLite's largest entry, in the journal


@dataclass(frozen=True)
class PlannedSeeds:
    """More seeds of every large run, as a price.

    large_seeds: the value of `training.large_seeds` that adds them.
    trainings: that they add, of the large model.
    seconds: that these take; None as in Plan.
    less_noise: share by which they cut the standard deviation of the large runs' seed noise.
    shown: whether the run as it is configured shows how large that noise is.
    """

    large_seeds: int
    trainings: int
    seconds: float | None
    less_noise: float
    shown: bool


@dataclass(frozen=True)
class Plan:
    """The forecast of a run. A sampled design is taken to grow to its end.

    trainings: of whole models, small and large.
    messages: from the server to companies.
    exchanges: how often the server sends messages to all companies and waits for the replies.
    bytes: of the parameters in messages, both ways.
    disk_bytes: on the server's disk, of large replies that wait and of the last large models.
    kept_states: what states of rows take that are computed once (`fl_sv.training.kept`); None
        where none are kept.
    seconds: wall time on this machine with the configured workers; None where the companies' rows
        are on machines of their own.
    rate_trainings: of those, the ones that try learning rates (`auto`), by the grand coalition.
    averaged_evaluations: averages of the companies' own models that are evaluated, not trained.
    more_seeds: what it would cost to train each large run more often.
    stages: what each stage costs, by its name in cost.json.
    sweep_share_of_teacher_flops: the sweep's arithmetic divided by the teacher's.
    models: by name, how many of its `parameters` are `trainable`: these travel.
    rows_left_out: of a shared source, those that belong to no company.
    remarks: what must be known about the data and users' modules; it stops nothing.
    """

    n_companies: int
    sampled: bool
    coalitions: int
    trainings: int
    messages: int
    exchanges: int
    bytes: int
    peak_memory_bytes: int
    disk_bytes: int
    kept_states: "PlannedStates | None"
    seconds: float | None
    available_memory_bytes: int
    large_runs_of_grand_coalition: int
    large_runs_of_other_coalitions: int
    rate_trainings: int
    averaged_evaluations: int
    more_seeds: PlannedSeeds
    stages: "dict[str, PlannedStage]"
    sweep_share_of_teacher_flops: float
    models: dict[str, dict[str, int]]
    rows_left_out: int
    remarks: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False)


@dataclass(frozen=True)
class PlannedTraffic:
    """Messages of a run: their number, how often the server waits for answers, bytes both ways."""

    messages: int
    exchanges: int
    bytes: int


def forecast(config: Config, checked: CheckedData, *, on_ray: bool = True) -> Plan:
    """The plan of a checked config. A few batches of each size are timed for it.

    checked: the result of `fl_sv.planning.checks.check`.
    on_ray: whether the run uses Ray.

    Raises InputError when a model does not fit the data, or when the run exceeds the free memory or
    `compute.max_hours`.
    """
    # Imported here, because these modules load torch.
    from fl_sv.planning import memory as needs
    from fl_sv.planning.modules import module_remarks
    from fl_sv.planning.stages import flops_of, of_other_machines, planned_stages
    from fl_sv.planning.states import planned_states, require_disk
    from fl_sv.training.deployed import try_distillation
    from fl_sv.training.models import model_specs, tensors
    from fl_sv.training.trial import tried_models

    scaling, examples = checked.scaling, checked.examples
    small, large = model_specs(config, scaling.task)
    run = planned_run(config, small, large)
    on_ray = on_ray and bool(examples)
    sent = traffic(config, run, large.n_params)
    n_workers = needs.workers(config, on_ray=on_ray) if examples else 1
    n_validation = len(checked.validation)
    _require_outputs(needs.outputs_of_a_model(config, scaling, n_validation), n_validation)
    memory = needs.peak_memory(config, run, large, scaling, n_validation, n_workers, on_ray=on_ray)
    free = free_memory()
    _require_memory(memory, free)
    x, y = tensors(checked.validation, config)
    small, large = tried_models(config, scaling.task, x, y)
    run = planned_run(config, small, large)  # with what the trial found out about operations
    states = planned_states(config, (*small, large), checked, n_workers, on_ray=on_ray)
    memory += states.memory
    _require_memory(memory, free)
    require_disk(states)
    if config.deployed is not None:
        try_distillation(config, config.deployed, large, scaling)
    remarks = module_remarks(config, (*small, large), x, y)
    stages = planned_stages(config, run, _rows(config, checked), on_ray=on_ray)
    seconds, large_seed = _seconds(
        config, run, (*small, large), checked, n_workers, sent, stages, on_ray
    )
    return Plan(
        n_companies=config.n_companies,
        sampled=config.coalitions.design == "sampled",
        coalitions=len(design_steps(config)[-1].coalitions),
        trainings=sum(workload.trainings for workload in run.all) + bool(config.deployed),
        messages=sent.messages,
        exchanges=sent.exchanges,
        bytes=sent.bytes,
        peak_memory_bytes=memory,
        disk_bytes=needs.disk_space(config, run, large, scaling, n_validation) + states.disk,
        kept_states=states if states.passed else None,
        seconds=None if seconds is None else round(seconds, 1),
        available_memory_bytes=free,
        large_runs_of_grand_coalition=len(run.teacher),
        large_runs_of_other_coalitions=sum(workload.trainings for workload in run.large_runs),
        rate_trainings=sum(workload.trainings for workload in run.rates),
        averaged_evaluations=averaged_evaluations(config),
        more_seeds=_more_seeds(config, large_seed),
        stages=stages if examples else of_other_machines(stages),
        sweep_share_of_teacher_flops=flops_of(stages[SWEEP]) / flops_of(stages[TEACHER]),
        models=_counts((*small, large)),
        rows_left_out=checked.rows_left_out,
        remarks=(*checked.remarks, *remarks, *needs.need_remarks(config, run, large)),
    )


def _seconds(
    config: Config,
    run: PlannedRun,
    models: tuple["ModelSpec", ...],
    checked: CheckedData,
    n_workers: int,
    sent: "PlannedTraffic",
    stages: "dict[str, PlannedStage]",
    on_ray: bool,
) -> tuple[float | None, float | None]:
    """Seconds of the run, and of one seed of its large runs; None where no rows are here."""
    from fl_sv.planning.duration import exchange_seconds, settling_seconds, training_seconds

    if not checked.examples:
        return None, None
    *small, large = models
    rows_N = _rows(config, checked)
    together = min(n_workers, config.n_companies)
    trained = training_seconds(config, run, tuple(small), large, checked, rows_N, together)
    seconds = trained.total + exchange_seconds(sent.exchanges, on_ray=on_ray)
    seconds += sum(stage.message_seconds or 0.0 for stage in stages.values())
    seconds += settling_seconds(
        len({c for step in run.sweep for wave in step for c in wave.coalitions})
    )
    _require_time(config, seconds)
    return seconds, trained.large_seed


def _counts(models: Iterable["ModelSpec"]) -> dict[str, dict[str, int]]:
    """By model, how many of its parameters are trained."""
    return {
        model.name: {"trainable": model.n_params, "parameters": model.n_params_in_all}
        for model in models
    }


def traffic(config: Config, run: PlannedRun, large_params: int) -> PlannedTraffic:
    """The messages of a run. large_params: parameters of the large model."""
    n = config.n_companies
    # Before the small models of a step learn from the finished teacher, it goes to every company.
    teacher_sent = len(run.sweep) if config.students else 0
    params = 2 * sum(workload.params_sent for workload in run.all) + large_params * n * teacher_sent
    registration = 1
    others = registration + teacher_sent
    return PlannedTraffic(
        messages=sum(workload.messages for workload in run.all) + n * others,
        exchanges=sum(workload.exchanges for workload in run.all) + others,
        bytes=params * np.dtype(config.compute.dtype).itemsize,
    )


def _more_seeds(config: Config, large_seed: float | None) -> PlannedSeeds:
    """large_seed: seconds of one seed of all large runs."""
    training = config.training
    further = further_seeds(config)
    more = training.large_seeds + further
    return PlannedSeeds(
        large_seeds=more,
        trainings=further * (1 + len(expected_large_runs(config))),
        seconds=None if large_seed is None else round(further * large_seed, 1),
        less_noise=1 - math.sqrt(training.large_seeds / more),
        shown=max(training.seeds, training.large_seeds) > 1,
    )


def _rows(config: Config, checked: CheckedData) -> NDArray[np.float64]:
    """Rows of each company (N,); equal companies where they are unknown."""
    examples = checked.examples
    return np.array([examples.get(company, 1) for company in config.companies], dtype=np.float64)


def _require_memory(memory: int, free: int) -> None:
    if memory > free:
        raise InputError(
            f"The run needs about {memory / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free."
            " Lower coalitions.wave_megabytes, compute.workers, training.seeds, law.anchors, the"
            " width of the large model or a transfer set's rows, or take a sample of the coalitions"
            " (coalitions.design: sampled)."
        )


def _require_outputs(needed: int, n_validation: int) -> None:
    if needed > MOST_OUTPUTS:
        raise InputError(
            f"A model's outputs on the {n_validation:,} validation rows take {needed / 1e9:.1f} GB;"
            f" those of each company's own model are kept, at most {MOST_OUTPUTS / 1e9:g} GB each."
            " Take fewer validation rows (data.validation), rows with fewer places, or fewer"
            " classes."
        )


def _require_time(config: Config, seconds: float) -> None:
    if seconds > config.compute.max_hours * 3600:
        raise InputError(
            f"The run is expected to take {seconds / 3600:.1f} hours on this machine;"
            f" compute.max_hours is {config.compute.max_hours:g}. Take fewer companies, sizes,"
            " seeds or rounds, or raise the limit."
        )


def plan_text(plan: Plan) -> str:
    """The forecast as a person reads it."""
    from fl_sv.planning.stages import stages_text

    at_most = " at most" if plan.sampled else ""
    memory, free = plan.peak_memory_bytes / 1e9, plan.available_memory_bytes / 1e9
    duration = "not known: the companies' files are not here"
    if plan.seconds is not None:
        duration = _duration(plan.seconds)
    megabytes = plan.bytes / plan.n_companies / 1e6
    least, most = (_duration(plan.exchanges * seconds) for seconds in REMOTE_ROUND_SECONDS)
    frozen = {}
    if any(counts["trainable"] < counts["parameters"] for counts in plan.models.values()):
        frozen["trained"] = ", ".join(
            f"{counts['trainable']:,} of {counts['parameters']:,} parameters of {name}"
            for name, counts in plan.models.items()
        )
    disk = {}
    if plan.disk_bytes > LARGE_BYTES:
        disk["disk space"] = f"{plan.disk_bytes / 1e9:.1f} GB, for large replies and models"
    states = {} if plan.kept_states is None else {"kept states": plan.kept_states.text}
    seeds, more = {}, plan.more_seeds
    if more.trainings:  # there may be no more of them
        seeds["more large seeds"] = _more_seeds_text(more)
    rates = {}
    if plan.rate_trainings:
        rates["learning rates"] = (
            f"{plan.rate_trainings} of these trainings try rates (auto), by all companies"
        )
    rows = {
        "companies": f"{plan.n_companies}",
        **frozen,
        "coalitions": f"{plan.coalitions:,}{at_most}",
        "trainings": f"{plan.trainings:,} (large runs of the grand coalition:"
        f" {plan.large_runs_of_grand_coalition}, of others: {plan.large_runs_of_other_coalitions})",
        **rates,
        "averages": f"{plan.averaged_evaluations:,}{at_most} of the companies' own models,"
        " evaluated and not trained",
        "messages": f"{plan.messages:,}",
        "bytes": f"{plan.bytes / 1e6:,.1f} MB",
        "peak memory": f"{memory:.1f} GB of {free:.1f} GB free",
        **states,
        **disk,
        "expected time": duration,
        "across companies": f"{megabytes:,.1f} MB each, and {least} to {most} more:"
        f" {plan.exchanges} exchanges of messages",
        **seeds,
        "trainings by stage": stages_text(plan.stages),
        "sweep / teacher FLOPs": f"{plan.sweep_share_of_teacher_flops:.2f}",
    }
    return "\n".join([*(f"{name:<23}{value}" for name, value in rows.items()), *plan.remarks])


def _more_seeds_text(more: PlannedSeeds) -> str:
    seconds = "" if more.seconds is None else f" and {_duration(more.seconds)} more"
    worth = "the run will say how large that is"
    if not more.shown:
        worth = "how large that is takes training.seeds of 2 or more to say"
    return (
        f"{more.trainings} trainings{seconds} by training.large_seeds: {more.large_seeds}, which"
        f" cuts the large runs' seed noise by {100 * more.less_noise:.0f} %; {worth}"
    )


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "less than 1 s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{math.ceil(seconds / 60)} min"
