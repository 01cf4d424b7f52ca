"""Do the law's alarms notice that the small models are students? With three sizes and two seeds, as
a run has them.

Students learn from the finished teacher on their companies' own rows, as the product's do. Truth is
the large model on every coalition. The law is fitted without large runs (law_0), with the
singletons (law_n), and with all companies but one as well (law_2n).

Shapes: N companies, C = 2**N coalitions, M small sizes, R seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common.distance import relative_l2
from benchmarks.distillation.law import brute_force, leave_one_out_r2
from benchmarks.distillation.students import (
    Federation,
    Floats,
    federation,
    game,
    honestly,
    learning_from_teacher,
    swept_by_seed,
)
from benchmarks.law.baselines import leave_one_outs, singletons
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law import fit_law
from fl_sv.law.alarms import codes_of
from fl_sv.values import shapley

WIDTHS, SEEDS = (8, 16, 32), 2
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)


def measure(
    seed: int, spoilt: bool, weights: Sequence[float] = WEIGHTS, *, rounds: int = 15, n: int = 5
) -> list[dict[str, Any]]:
    """One row for each weight and set of large runs; `spoilt`: one company has wrong labels."""
    sizes = [
        federation(game(seed, rounds=rounds, spoilt=spoilt, width=width, seeds=SEEDS), n)
        for width in WIDTHS
    ]
    rounds_of_teacher, large_C = brute_force(sizes[-1])
    teacher_params = rounds_of_teacher[-1]
    ends = [EMPTY, grand(n)]
    runs = {
        "law_0": ends,
        "law_n": ends + singletons(n),
        "law_2n": ends + singletons(n) + leave_one_outs(n),
    }
    rows = []
    for weight in weights:
        small_MRC = np.stack([_sweep(size, teacher_params, weight) for size in sizes])
        for design, coalitions in runs.items():
            found = _judged(sizes, small_MRC, large_C, coalitions)
            rows.append({"seed": seed, "spoilt": spoilt, "weight": weight, "runs": design, **found})
    return rows


def _sweep(game: Federation, teacher_params: Any, weight: float) -> Floats:
    """(R, C) losses of plain small models at weight 0, else of students."""
    everything = range(1 << len(game.companies))
    if weight == 0:
        return swept_by_seed(game, lambda r: honestly(game, game.small, r), everything)
    return swept_by_seed(
        game, lambda r: learning_from_teacher(game, teacher_params, None, weight, r), everything
    )


def _judged(
    sizes: Sequence[Federation], small_MRC: Floats, large_C: Floats, coalitions: Sequence[int]
) -> dict[str, Any]:
    """Alarms by code; r2 of the largest small size, leave-one-out; relative error, coverage and
    width of the values.
    """
    small_CM = small_MRC.mean(axis=1).T
    law = fit_law(
        small_CM,
        {coalition: float(large_C[coalition]) for coalition in coalitions},
        sizes=[*(size.small.n_params for size in sizes), sizes[-1].large.n_params],
        examples=sizes[-1].examples,
        seed_std=np.sqrt(small_MRC[:, :, 1:].var(axis=1, ddof=1).mean(axis=1)),
    )
    found, truth_N = law.shapley(), shapley(-large_C)
    return {
        "r2": leave_one_out_r2(np.log(small_CM[1:, -1]), np.log(large_C[1:])),
        "alarms": codes_of(law.alarms),
        "law_error": relative_l2(found.values, truth_N),
        "coverage": float(((found.low <= truth_N) & (truth_N <= found.high)).mean()),
        "width": float((found.high - found.low).mean() / truth_N.sum()),
    }
