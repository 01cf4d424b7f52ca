"""Violations of the law, put into brute-forced games, and the alarms that they raise.

The games are those of tests/data/law_digits.npz, 45 of six companies. A violation is put at one
company after the other:

repeated  the small models learn one company's few rows by heart: they credit each of its
          coalitions with a share of the whole gain, the less the more others take part. The
          large model does not.
wrong     the large model learns one company's wrong labels and the small ones cannot: its loss
          rises by a share of the gain, in proportion to the company's part of the coalition's rows.
full      the small models improve as far as a share of all coalitions, and no further but
          seed noise.

Shapes: N = 6 companies, C = 2**N coalitions, M small sizes.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.law.baselines import leave_one_outs, singletons
from fl_sv.game.coalitions import EMPTY, grand, members_matrix
from fl_sv.law import Law, fit_law
from fl_sv.values import shapley

GAMES = Path(__file__).resolve().parents[2] / "tests" / "data" / "law_digits.npz"
SMALL = slice(1, 4)  # widths 16, 32 and 64 below one of 256
N = 6
MEMBERS_CN = members_matrix(range(1 << N), N)
ENDS = [EMPTY, grand(N)]
RUNS = {
    "law_0": ENDS,
    "law_n": ENDS + singletons(N),
    "law_2n": ENDS + singletons(N) + leave_one_outs(N),
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tables:
    """Mean losses of a game: small_CM, large_C; parameters of all models, rows of the companies,
    seed noise.
    """

    small_CM: Floats
    large_C: Floats
    sizes: Floats
    examples_N: Floats
    seed_std_M: Floats


Violation = Callable[[Tables, int, float], Tables]


def games() -> Iterator[Tables]:
    """The brute-forced games."""
    data = np.load(GAMES)
    for loss_CM, std_M, examples_N in zip(
        data["loss"], data["seed_std"], data["examples"], strict=True
    ):
        loss_CM = loss_CM.astype(np.float64)
        sizes = np.append(data["sizes"][SMALL], data["sizes"][-1])
        yield Tables(
            loss_CM[:, SMALL], loss_CM[:, -1], sizes, examples_N, std_M[SMALL].astype(np.float64)
        )


def repeated(game: Tables, company: int, share: float) -> Tables:
    credit_C = share * MEMBERS_CN[:, company] * (1 - MEMBERS_CN.mean(axis=1))
    return replace(
        game, small_CM=game.small_CM - credit_C[:, None] * (game.small_CM[0] - game.small_CM[-1])
    )


def wrong(game: Tables, company: int, share: float) -> Tables:
    rows_C = np.maximum(MEMBERS_CN @ game.examples_N, 1)
    part_C = MEMBERS_CN[:, company] * game.examples_N[company] / rows_C
    return replace(
        game, large_C=game.large_C + share * part_C * (game.large_C[0] - game.large_C[-1])
    )


def full(game: Tables, company: int, share: float) -> Tables:
    floor_M = np.quantile(game.small_CM[1:-1], 1 - share, axis=0)
    noise_CM = np.random.default_rng(company).normal(
        0, game.seed_std_M / np.sqrt(3), game.small_CM.shape
    )
    noise_CM[ENDS] = 0
    return replace(game, small_CM=np.maximum(game.small_CM, floor_M) + noise_CM)


CASES: dict[str, tuple[Violation | None, float]] = {
    "none": (None, 0.0),
    "repeated, 25 %": (repeated, 0.25),
    "repeated, 50 %": (repeated, 0.5),
    "repeated, 100 %": (repeated, 1.0),
    "wrong, 25 %": (wrong, 0.25),
    "wrong, 50 %": (wrong, 0.5),
    "wrong, 100 %": (wrong, 1.0),
    "full, 50 %": (full, 0.5),
    "full, 70 %": (full, 0.3),
    "full, 85 %": (full, 0.15),
}


def law_of(game: Tables, runs: list[int]) -> Law:
    return fit_law(
        game.small_CM,
        {c: float(game.large_C[c]) for c in runs},
        sizes=game.sizes,
        examples=game.examples_N,
        seed_std=game.seed_std_M,
        large_std=0.0,  # law and truth share their trainings here
    )


def measure(case: str) -> dict[str, Any]:
    """The alarms in every game of one case."""
    violation, share = CASES[case]
    alarmed, errors, codes = Counter[str](), [], Counter[str]()
    for number, game in enumerate(games()):
        game = game if violation is None else violation(game, number % N, share)
        true_N = shapley(-game.large_C)
        for name, runs in RUNS.items():
            law = law_of(game, runs)
            alarmed[name] += not law.holds
            if name == "law_n":
                errors.append(
                    float(np.linalg.norm(law.shapley().values - true_N) / np.linalg.norm(true_N))
                )
                codes.update(alarm.code for alarm in law.alarms)
    return {
        "case": case,
        "alarmed": {name: alarmed[name] / len(errors) for name in RUNS},
        "codes": {code.rstrip(":"): count / len(errors) for code, count in sorted(codes.items())},
        "error": float(np.mean(errors)),
    }
