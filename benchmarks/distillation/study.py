"""The five studies of benchmarks.distillation, how much of each is measured, and their run."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.distillation import alarms, classroom, incentive, law
from benchmarks.distillation.tables import summary
from fl_sv.machine import keep_freed_memory, use_threads

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """How much is measured: seeds, and what each study is given besides the seed."""

    seeds: Sequence[int]
    law: Options
    alarms: Sequence[Options]  # one for each federation, as for incentive
    transfer: Options
    classics: Options
    incentive: Sequence[Options]


FULL = Form(
    seeds=range(5),
    law={},
    alarms=({"spoilt": False}, {"spoilt": True}),
    transfer={},
    classics={},
    incentive=({"spoilt": False, "students": False}, {"spoilt": True}),
)
FAST = Form(
    seeds=range(2),
    law={
        "sets": ("own", "public", "inversion", "uniform"),
        "weights": (0.7,),
        "teacher_rounds": (15,),
    },
    alarms=({"spoilt": True, "weights": (0.0, 0.5, 1.0)},),
    transfer={"sets": ("own", "public", "moved", "gaussian", "uniform", "inversion")},
    classics={"methods": ("hinton", "dkd", "logit_l2", "jacobian")},
    incentive=({"spoilt": False, "students": False}, {"spoilt": True, "students": False}),
)
SMALLEST = Form(  # for a test that everything runs; its figures mean nothing
    seeds=range(1),
    law={
        "sets": ("own", "uniform"),
        "weights": (0.7,),
        "teacher_rounds": (1,),
        "rounds": 2,
        "n": 3,
    },
    alarms=({"spoilt": True, "weights": (0.0, 1.0), "rounds": 2, "n": 3},),
    transfer={"sets": ("own", "inversion"), "epochs": 1, "teacher_epochs": 1},
    classics={"methods": ("hinton", "hint"), "epochs": 1, "teacher_epochs": 1},
    incentive=({"spoilt": True, "rounds": 2, "n": 3},),
)


def measure(form: Form, processes: int) -> dict[str, Any]:
    """The rows of every study, and their summary."""
    started = time.perf_counter()
    found: dict[str, Any] = {
        "law": [],
        "alarms": [],
        "transfer": [],
        "classics": [],
        "incentive": [],
    }
    core_seconds = 0.0
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_quietly
    ) as pool:
        jobs = [
            (name, pool.submit(_timed, study, seed, options))
            for seed in form.seeds
            for name, study, options in (
                ("law", law.measure, form.law),
                *(("alarms", alarms.measure, options) for options in form.alarms),
                ("transfer", classroom.transfer, form.transfer),
                ("classics", classroom.classics, form.classics),
                *(("incentive", incentive.measure, options) for options in form.incentive),
            )
        ]
        for name, job in jobs:
            rows, seconds = job.result()
            found[name] += rows
            core_seconds += seconds
            print(
                f"{name}, seed {rows[0]['seed']}: {seconds:.0f} s of one core",
                file=sys.stderr,
                flush=True,
            )
    clocks = {"seconds": time.perf_counter() - started, "core_seconds": core_seconds}
    return {**found, "summary": summary(found), **clocks}


def _timed(
    study: Callable[..., list[dict[str, Any]]], seed: int, options: Options
) -> tuple[list[dict[str, Any]], float]:
    worked = time.process_time()
    return study(seed, **options), time.process_time() - worked


def _quietly() -> None:
    use_threads(1)
    keep_freed_memory()
