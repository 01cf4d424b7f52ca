"""Utility tables that every peer is given, and the exact values by which it is judged.

All but one begin at v(empty) = 0, as most peers take for granted. `untrained` does not: it is minus
a loss.

Shapes: N companies, C = 2**N coalitions.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimators.games import diminishing_rule
from benchmarks.sweep.sweeps import in_one_process
from fl_sv.config import Config
from fl_sv.game.coalitions import EMPTY, grand, members_matrix, n_companies_of_table

Floats = NDArray[np.float64]

MEMBERS = members_matrix(range(32), 5)
ADDS = np.array([0.4, 0.2, 0.2, 0.1, 0.0])
WEIGHTS = np.array([2.0, 1.0, 1.0, 0.0, 0.0])
HARM = np.array([0.0, 0.0, 0.0, -0.2, 0.0])
TWINS, NULL = (1, 2), 4
"""Companies of the games with a formula that are alike, and the one that brings nothing."""


@dataclass(frozen=True, eq=False)
class Game:
    """A utility table, index = bitmask, with its Shapley values and leave-one-outs (N,)."""

    name: str
    utility_C: Floats
    shapley_N: Floats
    leave_one_out_N: Floats
    twins: tuple[int, int] | None = None
    null: int | None = None

    @property
    def n_companies(self) -> int:
        return len(self.shapley_N)

    @property
    def gain(self) -> float:
        return float(self.utility_C[-1] - self.utility_C[EMPTY])


def game(name: str, utility_C: Floats, *, formula: bool = False) -> Game:
    """`formula`: one of those whose twins and null company are known."""
    n = n_companies_of_table(len(utility_C))
    leave_one_outs = [grand(n) ^ 1 << i for i in range(n)]
    known: dict[str, Any] = {"twins": TWINS, "null": NULL} if formula else {}
    return Game(
        name,
        utility_C,
        by_definition(utility_C),
        utility_C[-1] - utility_C[leave_one_outs],
        **known,
    )


def by_definition(utility_C: Floats) -> Floats:
    """Shapley's formula, coalition by coalition, in fractions: nothing of fl-sv and no rounding."""
    n = len(utility_C).bit_length() - 1
    exact_C = [Fraction(float(utility)) for utility in utility_C]
    values = []
    for i in range(n):
        without = [coalition for coalition in range(1 << n) if not coalition >> i & 1]
        by_size = [Fraction(0)] * n
        for coalition in without:
            by_size[coalition.bit_count()] += exact_C[coalition | 1 << i] - exact_C[coalition]
        values.append(sum(total / math.comb(n - 1, size) for size, total in enumerate(by_size)) / n)
    return np.array([float(value) for value in values])


def with_a_formula() -> list[Game]:
    diminishing_C = diminishing_rule(WEIGHTS)(MEMBERS)
    return [
        game("additive", MEMBERS @ ADDS, formula=True),
        game("diminishing", diminishing_C, formula=True),
        game("harmful", diminishing_C + MEMBERS @ HARM, formula=True),
        game("untrained", diminishing_C - 2.3, formula=True),
    ]


def federated(n_companies: int) -> Game:
    """Digits in shares of size 1 to N, 40 % wrong labels at the second largest, really trained: ln
    K minus the loss.
    """
    companies = [f"Company {i}" for i in range(1, n_companies + 1)]
    config = Config.model_validate(
        {
            "companies": companies,
            "data": {
                "source": "digits",
                "partition": {
                    "kind": "sizes",
                    "sizes": {name: i for i, name in enumerate(companies, start=1)},
                },
                "corruptions": [
                    {"kind": "wrong_labels", "company": companies[-2], "fraction": 0.4}
                ],
            },
            "models": {
                "small": [{"kind": "mlp", "hidden": [16]}],
                "large": {"kind": "mlp", "hidden": [64]},
            },
            "training": {"rounds": 20, "learning_rate": 0.3, "seeds": 1},
            "payouts": {"pot": {"kind": "fixed", "cents": 1}},
        }
    )
    loss_C = in_one_process(config).losses
    return game(f"digits, {n_companies} companies", loss_C[EMPTY] - loss_C)


def games() -> list[Game]:
    """Small ones first, for they are answered in no time."""
    return [*with_a_formula(), *(federated(n) for n in (5, 8, 10))]
