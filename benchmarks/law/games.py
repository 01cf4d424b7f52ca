"""One stored game of benchmarks.games: as a user has it, and with the truth's own trainings.

Shapes: N companies, R trainings of the large model.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.common.distance import relative_l2
from benchmarks.law.alarm_curves import BAD, GOOD, label
from benchmarks.law.known import KnownGame, kind_of
from benchmarks.law.protocol import large_runs, values_by_training, with_shared_trainings
from benchmarks.law.simple_rules import simple_rules
from benchmarks.law.truth import by_merging, judged

FEW = (2, 3)  # trainings of a truth that is cheap


def measure(game: KnownGame, large_seeds: int) -> dict[str, Any]:
    """Everything about one game: `judged`, both protocols, and the labels of its cases.

    A case is a law and a choice of trainings. Its label compares the law's error with the mean
    error of one brute force in this game.
    """
    found = judged(game, large_seeds)
    for case in found["cases"]:
        case["label"] = label(case["error"], found["errors"]["one_brute_force"])
    return {
        "game": game.name,
        "kind": kind_of(game),
        **found,
        "shared": _shared(game),
        "flips": _flips(game, found["cases"]),
    }


def _shared(game: KnownGame) -> dict[str, Any]:
    """Errors and coverage where the law is given the truth's own means, and knows it."""
    seen, true_N = with_shared_trainings(game)
    runs_of = large_runs(game.n_companies)
    estimates = {name: seen.law(runs).shapley() for name, runs in runs_of.items()}
    values = {name: found.values for name, found in estimates.items()}
    values |= simple_rules(seen, runs_of["law_n"]) | by_merging(seen, runs_of["law_n"])
    return {
        "errors": {name: relative_l2(value_N, true_N) for name, value_N in values.items()},
        "coverage": {
            name: float(np.mean((found.low <= true_N) & (true_N <= found.high)))
            for name, found in estimates.items()
        },
    }


def _flips(game: KnownGame, cases: Sequence[dict[str, Any]]) -> dict[str, list[bool]]:
    """Whether a case's label is another one when few of the other trainings are the truth.

    One label for each case and each choice of so few trainings; only labels good and bad count.
    """
    value_RN = values_by_training(game)
    flips: dict[str, list[bool]] = {str(few): [] for few in FEW}
    for case in cases:
        if case["label"] not in (GOOD, BAD):
            continue
        others = [r for r in range(game.trainings) if r not in case["given"]]
        for few in FEW:
            if few >= len(others):
                continue
            for chosen in combinations(others, few):
                true_N = value_RN[list(chosen)].mean(axis=0)
                brute = np.mean(
                    [
                        relative_l2(value_RN[r], true_N)
                        for r in range(game.trainings)
                        if r not in chosen
                    ]
                )
                error = relative_l2(np.array(case["values"]), true_N)
                flips[str(few)].append(label(error, float(brute)) != case["label"])
    return flips
