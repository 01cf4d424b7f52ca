"""What each stage of a run costs: trainings, messages, bytes, arithmetic, and time of messages.

`python -m benchmarks.scale` makes the tables of docs/scale.md from these numbers.

Shapes: N companies.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.design.workloads import LARGE_RUNS, RATES, PlannedRun, Workload
from fl_sv.planning.memory import waits_on_disk

# Seconds of one machine for a gigabyte of messages, both ways together: written, read, checked and
# averaged. In one process 1.9 s for 2.96 GB (docs/sweep.md); on Ray 0.11 s of a round for 0.1 GB
# beside those of an empty one; with replies on disk 8.8 s of a round for 4.3 GB (docs/large.md),
# and 11 s by the clock. 2 CPU cores, 2026-11.
PROCESS_SECONDS, RAY_SECONDS, DISK_SECONDS = 0.65, 1.1, 2.3
GIGABYTE = 1e9
SHOWN = {LARGE_RUNS: "large runs", RATES: "learning rates"}


@dataclass(frozen=True)
class PlannedStage:
    """A stage of the run, under its name in cost.json.

    bytes: of the parameters in messages, both ways.
    flops: floating-point operations of all trainings; None where the companies' rows are unknown.
    message_seconds: that messages take on this machine; None where the companies are on others.
    """

    trainings: int
    messages: int
    exchanges: int
    bytes: int
    flops: float | None
    message_seconds: float | None


def planned_stages(
    config: Config, run: PlannedRun, rows_N: NDArray[np.float64], *, on_ray: bool
) -> dict[str, PlannedStage]:
    """The stages that train, in their order. rows_N: rows of each company."""
    names = dict.fromkeys(workload.stage for workload in run.all)
    itemsize = np.dtype(config.compute.dtype).itemsize
    of_round_N = [*map(config.training.rows_of_a_round, rows_N)]

    def stage(loads: list[Workload]) -> PlannedStage:
        n_bytes = [2 * load.params_sent * itemsize for load in loads]
        return PlannedStage(
            trainings=sum(load.trainings for load in loads),
            messages=sum(load.messages for load in loads),
            exchanges=sum(load.exchanges for load in loads),
            bytes=sum(n_bytes),
            flops=sum(load.flops(of_round_N) for load in loads),
            message_seconds=sum(
                each / GIGABYTE * _seconds_of_a_gigabyte(load, itemsize, on_ray=on_ray)
                for load, each in zip(loads, n_bytes, strict=True)
            ),
        )

    return {name: stage([load for load in run.all if load.stage == name]) for name in names}


def _seconds_of_a_gigabyte(load: Workload, itemsize: int, *, on_ray: bool) -> float:
    if waits_on_disk(load, itemsize):
        return DISK_SECONDS
    return RAY_SECONDS if on_ray else PROCESS_SECONDS


def of_other_machines(stages: dict[str, PlannedStage]) -> dict[str, PlannedStage]:
    """The stages without what depends on rows and machines that are not here."""
    return {
        name: replace(stage, flops=None, message_seconds=None) for name, stage in stages.items()
    }


def flops_of(stage: PlannedStage) -> float:
    """The operations of a stage whose companies' rows are known."""
    assert stage.flops is not None
    return stage.flops


def stages_text(stages: dict[str, PlannedStage]) -> str:
    """The stages as a person reads them."""
    return "; ".join(
        f"{SHOWN.get(name, name)} {stage.trainings:,}{_flops_text(stage.flops)},"
        f" {stage.bytes / 1e6:,.1f} MB"
        for name, stage in stages.items()
    )


def _flops_text(flops: float | None) -> str:
    return "" if flops is None else f", {flops / 1e9:,.1f} GFLOP"
