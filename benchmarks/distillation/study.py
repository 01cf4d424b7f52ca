"""Students of the federation's teacher: does the law hold for them, what do they learn from, and
does their pay work?

    python -m benchmarks.distillation [--json] [--full] [--processes 2] [--pictures FOLDER]

Five studies on digits, a row of results for each seed (docs/studies/distillation.md reads them):

law        small models that listen to the teacher, against brute force of the large model: which transfer set, how
           much weight, how good a teacher
alarms     whether the law's alarms notice that the small models are students on their companies' own rows: three sizes,
           two seeds, with and without large runs
transfer   one student, one teacher, the same number of rows: which rows teach most, on the teacher's own distribution
           and on a shifted one; when a student beats its teacher
classics   a class that the student never saw, 3 % of the data, a teacher's assistant, every method on few rows
incentive  each company in turn sabotages or skimps the teacher's training: what it is paid then, by every kind of pot

Without options the fast form: two seeds, fewer conditions. `--full`: five seeds and all conditions.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.distillation import alarms, classroom, incentive, law
from benchmarks.distillation.pictures import draw
from benchmarks.distillation.tables import as_text, summary
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
SMALLEST = Form(  # for a test that everything runs; its figures say nothing
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description="What distillation does to the law, to students and to the pay."
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of tables")
    parser.add_argument("--full", action="store_true", help="five seeds and all conditions")
    parser.add_argument(
        "--processes", type=int, default=2, help="studies side by side, one thread each"
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw the results, too")
    options = parser.parse_args()
    found = measure(FULL if options.full else FAST, options.processes)
    if options.pictures:
        draw(found["summary"], options.pictures)
    print(json.dumps(found) if options.json else as_text(found))
