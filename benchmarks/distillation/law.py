"""Do students still predict a large model? Transfer set x weight x quality of the
teacher.

Truth is the large model on every coalition. Each set of students is judged by how well its losses
predict the large model's on all coalitions, and how far the shares of its own Shapley values and of
the law's are from the true ones.

Shapes: N companies, C = 2**N coalitions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.common.distance import relative_l2
from benchmarks.distillation.students import (
    SETS,
    Federation,
    Floats,
    fedavg,
    federation,
    game,
    honestly,
    learning_from_teacher,
    swept,
    transfer_set,
)
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law import fit_law
from fl_sv.law.alarms import codes_of
from fl_sv.values import shapley

WEIGHTS = (0.3, 0.7, 1.0)
TEACHER_ROUNDS = (3, 8, 15)  # teachers of rising quality
LARGE_SEEDS = 2
TRANSFER_ROWS = 500
HOLDS = 0.95  # leave-one-out R2 from which a law counts as holding


def measure(
    seed: int,
    sets: Sequence[str] = SETS,
    weights: Sequence[float] = WEIGHTS,
    teacher_rounds: Sequence[int] = TEACHER_ROUNDS,
    *,
    rounds: int = 15,
    n: int = 5,
) -> list[dict[str, Any]]:
    """One row for the plain students and one for each transfer set, weight and teacher."""
    played = federation(game(seed, rounds=rounds), n)
    everything = range(1 << n)
    rounds_of_teacher, large_C = brute_force(played)
    plain_C = swept(played, lambda r: honestly(played, played.small, r), everything)
    rows = [{"seed": seed, "set": "plain", "weight": 0.0, **judged(played, plain_C, large_C)}]
    for teacher_round in teacher_rounds:
        teacher_params = rounds_of_teacher[teacher_round]
        teacher = {
            "teacher_round": teacher_round,
            "teacher_loss": float(played.losses(played.large, teacher_params[None])[0]),
        }
        for name in sets:
            transfer = transfer_set(name, played, teacher_params, TRANSFER_ROWS)
            for weight in weights:
                small_C = swept(
                    played,
                    lambda r, t=teacher_params, rows=transfer, w=weight: learning_from_teacher(
                        played, t, rows, w, r
                    ),
                    everything,
                )
                rows.append(
                    {
                        "seed": seed,
                        "set": name,
                        "weight": weight,
                        **teacher,
                        **judged(played, small_C, large_C),
                    }
                )
    return rows


def brute_force(game: Federation) -> tuple[list[Tensor], Floats]:
    """The large model on every coalition: the first seed's teacher (P,) after every round, the
    untrained one first, and the mean losses (C,)."""
    everything = range(1 << len(game.companies))
    runs = [
        fedavg(game, game.large, r, honestly(game, game.large, r), everything)
        for r in range(LARGE_SEEDS)
    ]
    large_C = np.mean([game.losses(game.large, stacks[-1]) for stacks in runs], axis=0)
    return [stack[-1] for stack in runs[0]], large_C


def judged(game: Federation, small_C: Floats, large_C: Floats) -> dict[str, Any]:
    """How well the small losses predict the large ones.

    r2: leave-one-out, of a line through the logarithms. share_error: L1 distance of the shares from
    the true ones, of the small model's own values; law_error: relative L2 distance of the law's
    values. spread: of the losses."""
    n = len(game.companies)
    measured = [EMPTY, grand(n), *(1 << i for i in range(n))]
    large_runs = {coalition: float(large_C[coalition]) for coalition in measured}
    law = fit_law(
        small_C,
        large_runs,
        sizes=[game.small.n_params, game.large.n_params],
        examples=game.examples,
    )
    truth_N, small_N, law_N = shapley(-large_C), shapley(-small_C), law.shapley().values
    return {
        "r2": leave_one_out_r2(np.log(small_C[1:]), np.log(large_C[1:])),
        "spread": float(small_C[1:].std()),
        "spearman": float(np.nan_to_num(spearmanr(small_C[1:], large_C[1:]).statistic)),
        "share_error": float(np.abs(small_N / small_N.sum() - truth_N / truth_N.sum()).sum()),
        "law_error": relative_l2(law_N, truth_N),
        "alarms": codes_of(law.alarms),
        "loss_grand": float(small_C[-1]),
    }


def leave_one_out_r2(x: Floats, y: Floats) -> float:
    """1 - squared errors of a line that never saw the point / those of a mean that did not; 0 for
    no line.
    """
    centred = x - x.mean()
    if (centred**2).sum() < 1e-9:
        return 0.0
    leverage = 1 / len(x) + centred**2 / (centred**2).sum()
    slope = (centred * y).sum() / (centred**2).sum()
    missed = (y - y.mean() - slope * centred) / (1 - leverage)
    by_mean = (y - y.mean()) / (1 - 1 / len(y))
    return float(1 - (missed**2).sum() / (by_mean**2).sum())
