"""One game of benchmarks.truth: brute force, our law, and everything else one could pay by.

Shapes: N companies, C = 2**N coalitions, R trainings of the large model.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.common.distance import relative_l2
from benchmarks.law.baselines import from_large_runs, gtg, multi_round, scaled
from benchmarks.law.brute_force import brute_force
from benchmarks.law.fine_tuning import FINE_TUNING
from benchmarks.law.known import KnownGame
from benchmarks.law.protocol import (
    Seen,
    Truth,
    as_a_user_has_it,
    large_runs,
    noise_floor,
    values_by_training,
)
from benchmarks.law.simple_rules import merging_rules, simple_rules
from benchmarks.law.tasks import FULL
from benchmarks.sweep.sweeps import quietly
from fl_sv.law import Law
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.streams import stream
from fl_sv.values import shapley

Floats = NDArray[np.float64]

TASKS = FULL | FINE_TUNING
LAWS = ("law_0", "law_n", "law_2n")


def measure(
    task: str,
    seed: int,
    kept: Path | None = None,
    small_rate: float = 1.0,
    large_seeds: int = 1,
    *,
    money: bool = False,
) -> dict[str, Any]:
    """Everything about one game of ours."""
    use_threads(1)
    keep_freed_memory()
    quietly()
    started, worked = time.perf_counter(), time.process_time()
    wanted = TASKS[task]
    config = wanted.game(seed, small_rate, money=money)
    game = brute_force(config, task, kept, merged=wanted.merged)
    return {
        "task": task,
        "seed": seed,
        **judged(game, large_seeds, seed),
        "seconds": round(time.perf_counter() - started, 1),
        "core_seconds": round(time.process_time() - worked, 1),
    }


def judged(game: KnownGame, large_seeds: int, seed: int = 0) -> dict[str, Any]:
    """Errors of all rules and of our law as a user has it; means over which trainings are given.

    `cases` has what each of our laws did with each choice of trainings.
    """
    views = [_view(seen, truth, seed) for seen, truth in as_a_user_has_it(game, large_seeds)]
    cases = [case for view in views for case in view["cases"]]
    by_law = {law: _mean_of([case for case in cases if case["law"] == law]) for law in LAWS}
    return {
        "R": game.trainings,
        "large_seeds": large_seeds,
        "errors": {
            name: float(np.mean([view["errors"][name] for view in views]))
            for name in views[0]["errors"]
        },
        "coverage": by_law["law_n"]["coverage"],
        "spearman": by_law["law_n"]["spearman"],
        "noise_floor": noise_floor(values_by_training(game), large_seeds),
        "by_law": by_law,
        "cases": cases,
        "first": views[0]["shown"],
    }


def _mean_of(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    codes = Counter(code for case in cases for code in set(case["alarms"]))
    return {
        "coverage": float(np.mean([case["coverage"] for case in cases])),
        "spearman": float(np.mean([case["spearman"] for case in cases])),
        "alarmed": float(np.mean([bool(case["alarms"]) for case in cases])),
        "alarms": {code: count / len(cases) for code, count in sorted(codes.items())},
    }


def _view(seen: Seen, truth: Truth, seed: int) -> dict[str, Any]:
    """One choice of trainings: the errors of all rules, and our laws judged."""
    runs_of = large_runs(seen.game.n_companies)
    laws = {name: seen.law(runs) for name, runs in runs_of.items()}
    utility_C = -seen.large
    total = float(utility_C[-1] - utility_C[0])
    small_N = shapley(-seen.small[:, -1])
    values = {
        **{name: law.shapley().values for name, law in laws.items()},
        "one_brute_force": shapley(utility_C),
        **simple_rules(seen, runs_of["law_n"]),
        **by_merging(seen, runs_of["law_n"]),
        **from_large_runs(utility_C, seen.game.examples_N, seed),
        "small": small_N,
        "small_scaled": scaled(small_N, total),
        **_from_updates(seen, total, seed),
    }
    errors = {name: truth.error(value_N) for name, value_N in values.items()}
    found = laws["law_n"].shapley()
    return {
        "errors": errors,
        "cases": [
            {
                "law": name,
                "given": list(seen.given),
                "error": errors[name],
                **_judged_law(law, truth),
                # law_0 knows no large singleton.
                "distance": None
                if name == "law_0"
                else relative_l2(values[name], values["averaged_difference"]),
            }
            for name, law in laws.items()
        ],
        "shown": {
            "truth": truth.values.tolist(),
            "law_n": [found.low.tolist(), found.values.tolist(), found.high.tolist()],
        },
    }


def by_merging(seen: Seen, runs: Sequence[int]) -> dict[str, Floats]:
    """Where merged models are known: the rules that read them, and law_n with them in the place of
    averaged outputs.
    """
    merged = [column for column in seen.game.columns() if column != "outputs"]
    if not merged:
        return {}
    laws = {f"law_n with {name}": seen.law(runs, name).shapley().values for name in merged}
    return {**laws, **merging_rules(seen, runs)}


def _judged_law(law: Law, truth: Truth) -> dict[str, Any]:
    found = law.shapley()
    return {
        "coverage": truth.covered(found),
        "spearman": float(spearmanr(found.values, truth.values).statistic),
        "alarms": [alarm.code for alarm in law.alarms],
        "figures": law.diagnostics,
        "width": float(np.linalg.norm(found.high - found.low) / np.linalg.norm(found.values)),
        "values": found.values.tolist(),
    }


def _from_updates(seen: Seen, total: float, seed: int) -> dict[str, Floats]:
    """Values by OR, MR and GTG, which read the updates of the trainings that are given."""
    game = seen.game
    if game.one_round_RC is None or game.by_round is None:
        return {}
    found: dict[str, list[Floats]] = {"one_round": [], "multi_round": [], "gtg": []}
    for training in seen.given:
        by_round = -game.by_round[training]
        found["one_round"].append(shapley(-game.one_round_RC[training]))
        found["multi_round"].append(multi_round(by_round))
        found["gtg"].append(gtg(by_round, stream(seed, training, "gtg")))
    return {name: scaled(np.mean(value_RN, axis=0), total) for name, value_RN in found.items()}
