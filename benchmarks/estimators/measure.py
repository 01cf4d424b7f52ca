"""Errors, coverage and seconds of estimates, and seconds of the exact functions.

Shapes: N companies, C = 2**N coalitions.
"""

import importlib.util
import time
import tracemalloc
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmarks.common.distance import relative_l2
from benchmarks.estimators.games import FEDERATED, LARGE, OTHER, KnownGame
from fl_sv.values import estimate_shapley, interactions, least_core, semivalue
from fl_sv.values.estimate import METHODS
from fl_sv.values.shapiq_methods import SHAPIQ_METHODS

SHAPLEIG = "shapiq:ShaplEIG"
SLOW = {"shapiq:ProxySPEX"}  # ten seconds an estimate
THIRD_ORDER = {"shapiq:PolySHAP", "shapiq:kADDSHAP"}  # have N**3/6 unknowns
BUDGETS = (64, 128, 256, 512)
# (family, budget) -> largest mean error that is promised, and for 50 and 100 companies at 40 times
# as many coalitions.
TARGETS = {
    ("diminishing", 128): 0.03,
    ("diminishing", 512): 0.01,
    ("coverage", 128): 0.07,
    ("cancer", 128): 0.15,
    ("digits", 128): 0.15,
    ("skewed_digits", 128): 0.15,
    ("diminishing50", 2000): 0.04,
    ("diminishing100", 4000): 0.05,
}


@dataclass(frozen=True)
class Task:
    """One game and what is to be estimated of it."""

    family: str
    seed: int
    estimates: tuple[tuple[str, int], ...]  # method, budget
    compared: bool = True  # by all methods; otherwise only for the coverage of ours


def tasks(full: bool, shapleig: bool) -> Iterator[Task]:
    """The longest first, so that at the end no worker still runs a long one."""
    if shapleig:
        for family in FEDERATED:
            yield from (
                Task(family, seed, tuple(product(("auto", SHAPLEIG), (64, 128))))
                for seed in range(2)
            )
        return
    compared, covered = (10, 200) if full else (3, 12)
    methods = list(METHODS)
    if importlib.util.find_spec("shapiq"):
        methods += [name for name in SHAPIQ_METHODS if available(name)]
    for family, (n_companies, _) in LARGE.items():
        few = [method for method in methods if method not in SLOW | THIRD_ORDER]
        for seed in range(2 if full else 1):
            budgets = (10 * n_companies, 40 * n_companies)
            yield Task(
                family, seed, tuple((method, budget) for budget in budgets for method in few)
            )
    for family in FEDERATED | OTHER:
        for seed in range(covered if family in FEDERATED else compared):
            of_ours = [("auto", budget) for budget in BUDGETS if budget <= 256 or seed < compared]
            others = [
                m
                for m in methods
                if m != "auto" and (m not in SLOW or (full and seed < 2 and family in FEDERATED))
            ]
            of_others = (
                [(method, budget) for budget in BUDGETS for method in others]
                if seed < compared
                else []
            )
            yield Task(family, seed, tuple(of_ours + of_others), compared=seed < compared)


def available(name: str) -> bool:
    """Whether the installed version of shapiq has the method."""
    from shapiq import approximator

    return hasattr(approximator, SHAPIQ_METHODS[name][0])


def work(task: Task) -> list[dict[str, Any]]:
    """A row for each estimate of one game."""
    game = (
        LARGE[task.family][1](task.seed)
        if task.family in LARGE
        else (FEDERATED | OTHER)[task.family](task.seed)
    )
    rows = []
    for method, budget in task.estimates:
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # shapiq warns of budgets below its unknowns, which the table shows
            error, inside = measure(game, method, budget, task.seed)
        rows.append(
            {
                "family": task.family,
                "n_companies": game.n_companies,
                "budget": budget,
                "method": method,
                "compared": task.compared,
                "error": error,
                "inside": inside,
                "seconds": time.perf_counter() - started,
            }
        )
    return rows


def measure(game: KnownGame, method: str, budget: int, seed: int) -> tuple[float, float]:
    """Relative error, and the share of companies whose value the interval holds."""
    if method == SHAPLEIG:
        value_N = shapleig(game, budget, seed)
        inside = 1.0
    else:
        estimate = estimate_shapley(game.rule, game.n_companies, budget, seed, method)
        value_N = estimate.values
        inside = float(np.mean((estimate.low <= game.exact) & (game.exact <= estimate.high)))
    return relative_l2(value_N, game.exact), inside


def shapleig(game: KnownGame, budget: int, seed: int) -> Any:
    """shapiq's Bayesian design. It uses every utility before it chooses the next coalition."""
    from shapiq.approximator import ShaplEIG

    approximator = ShaplEIG(n=game.n_companies, random_state=seed, show_progress=False)
    return approximator.approximate(
        budget, lambda m: game.rule(np.atleast_2d(m))
    ).get_n_order_values(1)


def averages(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean error and seconds of each family, budget and method on the games that all are compared
    on, and coverage on all games."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["family"], row["n_companies"], row["budget"], row["method"]].append(row)
    found = []
    for (family, n_companies, budget, method), group in sorted(groups.items()):
        entry = {"family": family, "n_companies": n_companies, "budget": budget, "method": method}
        compared = [row for row in group if row["compared"]]
        entry |= {"games": len(compared), "games_of_coverage": len(group)}
        entry |= {
            name: float(np.mean([row[name] for row in compared])) for name in ("error", "seconds")
        }
        entry["coverage"] = (
            None
            if method.startswith("shapiq:")
            else float(np.mean([row["inside"] for row in group]))
        )
        found.append(entry)
    return found


def targets(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is promised of the recommended method, and what was found."""
    ours = {
        (entry["family"], entry["budget"]): entry for entry in found if entry["method"] == "auto"
    }
    return [
        {
            "family": family,
            "budget": budget,
            "target": target,
            "error": ours[family, budget]["error"],
        }
        | {"met": ours[family, budget]["error"] <= target}
        for (family, budget), target in TARGETS.items()
        if (family, budget) in ours
    ]


def exact_seconds() -> dict[str, Any]:
    """Seconds and peak MiB beside the table of the exact functions on a random table of 2**N
    coalitions.
    """
    utility_C = np.random.default_rng(0).random(1 << 24)
    found: dict[str, Any] = {}
    cases: list[tuple[str, int, Callable[..., Any]]] = [
        *(
            (name, n, lambda t, name=name: semivalue(t, name))
            for n in (20, 24)
            for name in ("shapley", "beta:16,1")
        ),
        ("banzhaf", 20, lambda table: semivalue(table, "banzhaf")),
        ("loo", 20, lambda table: semivalue(table, "loo")),
        ("interactions", 16, interactions),
        ("least_core", 10, least_core),
    ]
    for name, n_companies, function in cases:
        table = utility_C[: 1 << n_companies]
        started = time.perf_counter()
        function(table)
        seconds = time.perf_counter() - started
        tracemalloc.start()
        function(table)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found[f"{name} 2**{n_companies}"] = {
            "seconds": round(seconds, 3),
            "peak_mib": round(peak / 2**20, 1),
        }
    return found
