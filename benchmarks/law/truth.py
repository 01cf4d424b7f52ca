"""One game of benchmarks.truth: brute force, our law, and everything else one could pay by.

Shapes: N companies, C = 2**N coalitions, R trainings of the large model.
"""

import time
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
from benchmarks.law.tasks import FULL
from benchmarks.law.updates import reconstruct
from benchmarks.sweep.sweeps import quietly
from fl_sv.config import Config
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law import Law
from fl_sv.machine import keep_freed_memory, use_threads
from fl_sv.streams import stream
from fl_sv.valuation.fit import fit_to_table
from fl_sv.values import shapley

Floats = NDArray[np.float64]


def laws(game: BruteForced) -> dict[str, Law]:
    """Our law by the large runs that it is given."""
    n = game.config.n_companies
    ends = [EMPTY, grand(n)]
    given = {
        "law_0": ends,
        "law_n": ends + singletons(n),
        "law_2n": ends + singletons(n) + leave_one_outs(n),
    }
    return {
        name: fit_to_table(game.config, game.shown(runs), game.sizes, game.examples, None)
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
    """One law compared with values that are known."""
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
