"""Other values of the large model's game, from fewer than all of its coalitions.

Each uses only the coalitions that its docstring names. All sum to the teacher's improvement, which
is known in any case. Only singleton and leave-one-out values do not; they are listed a second time
scaled to that sum, as a pot would be divided in proportion to them.

Shapes: N companies, C = 2**N coalitions, A large runs, T rounds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.special import comb
from sklearn.isotonic import IsotonicRegression

from fl_sv.game.coalitions import EMPTY, grand, members_matrix, n_companies_of_table
from fl_sv.values import estimate_shapley, semivalue, shapley

Floats = NDArray[np.float64]

# GTG's thresholds and stopping rule as in FedML 0.9.6 and other public copies.
ROUND_TRUNCATION, TRUNCATION = 0.01, 0.001
FEWEST_PERMUTATIONS, LAST, CONVERGED = 30, 10, 0.05
MOST_PERMUTATIONS = 600


def singletons(n_companies: int) -> list[int]:
    return [1 << i for i in range(n_companies)]


def leave_one_outs(n_companies: int) -> list[int]:
    return [grand(n_companies) ^ 1 << i for i in range(n_companies)]


def from_large_runs(utility_C: Floats, examples_N: Floats, seed: int) -> dict[str, Floats]:
    """Values by every rule that needs sizes or few large runs: at most 2N besides the two ends."""
    n = len(examples_N)
    total = float(utility_C[grand(n)] - utility_C[EMPTY])
    single, leave_one_out = singletons(n), leave_one_outs(n)
    single_N, last_N = utility_C[single] - utility_C[EMPTY], semivalue(utility_C, "loo")
    return {
        "equal": np.full(n, total / n),
        "by_size": scaled(examples_N, total),
        "singletons": single_N,
        "singletons_scaled": scaled(single_N, total),
        "leave_one_out": last_N,
        "leave_one_out_scaled": scaled(last_N, total),
        "du_shapley": du_shapley(utility_C, examples_N),
        "large_only_n": additive(utility_C, single),
        "large_only_2n": additive(utility_C, [*single, *leave_one_out]),
        "large_only_auto_2n": (
            estimate_shapley(
                lambda members_CN: utility_C[members_CN @ (1 << np.arange(n))], n, 2 * n + 2, seed
            ).values
        ),
    }


def scaled(value_N: Floats, total: float) -> Floats:
    """The same shares of `total`."""
    result: Floats = value_N * (total / value_N.sum())
    return result


def additive(utility_C: Floats, runs: Sequence[int]) -> Floats:
    """KernelSHAP on `runs` (Lundberg and Lee 2017): the additive game that fits them best and sums
    to the total.
    """
    n = n_companies_of_table(len(utility_C))
    run_members = members_matrix(runs, n).astype(float)
    run_sizes = run_members.sum(axis=1)
    root_weights = 1 / np.sqrt(comb(n, run_sizes) * run_sizes * (n - run_sizes))
    equal_N = np.full(n, (utility_C[grand(n)] - utility_C[EMPTY]) / n)
    directions = null_space(np.ones((1, n)))
    gains = utility_C[list(runs)] - utility_C[EMPTY] - run_members @ equal_N
    step = np.linalg.lstsq(
        root_weights[:, None] * (run_members @ directions), root_weights * gains, rcond=None
    )[0]
    result: Floats = equal_N + directions @ step
    return result


def du_shapley(utility_C: Floats, examples_N: Floats) -> Floats:
    """DU-Shapley (Garrido-Lucero et al. 2023): utility depends only on the amount of data.

    value_i = mean over k < N of w(k * mean of the others' sizes + n_i) - w(k * mean of the others'
    sizes). w rises through the ends, the singletons and the leave-one-outs (isotonic, linear in
    between)."""
    n = len(examples_N)
    runs = [EMPTY, *singletons(n), *leave_one_outs(n), grand(n)]
    run_sizes = members_matrix(runs, n) @ examples_N
    rising = IsotonicRegression(out_of_bounds="clip").fit(run_sizes, utility_C[runs])
    others_N = (examples_N.sum() - examples_N) / (n - 1)
    before_NK = others_N[:, None] * np.arange(n)
    after_NK = before_NK + examples_N[:, None]
    gain_NK = (rising.predict(after_NK.ravel()) - rising.predict(before_NK.ravel())).reshape(n, n)
    return scaled(gain_NK.mean(axis=1), float(utility_C[grand(n)] - utility_C[EMPTY]))


def multi_round(round_utilities: Floats) -> Floats:
    """MR (Song, Tong and Wei 2019): the sum over rounds of the Shapley values of the round's
    reconstructed models.
    """
    return np.sum([shapley(utility_C) for utility_C in round_utilities], axis=0)


def gtg(round_utilities: Floats, generator: np.random.Generator) -> Floats:
    """GTG-Shapley (Liu et al. 2022): MR by sampled permutations, cut off in and between rounds."""
    return np.sum([_gtg_round(utility_C, generator) for utility_C in round_utilities], axis=0)


def _gtg_round(utility_C: Floats, generator: np.random.Generator) -> Floats:
    """Mean marginals over permutations in which every company leads equally often, until their mean
    settles.
    """
    n = n_companies_of_table(len(utility_C))
    if abs(utility_C[grand(n)] - utility_C[EMPTY]) <= ROUND_TRUNCATION:
        return np.zeros(n)
    marginals: list[Floats] = []
    while len(marginals) < MOST_PERMUTATIONS and not _settled(marginals):
        for leader in range(n):
            followers = generator.permutation([i for i in range(n) if i != leader])
            marginals.append(_marginals(utility_C, [leader, *followers.tolist()]))
    return np.mean(marginals, axis=0)


def _marginals(utility_C: Floats, order: Sequence[int]) -> Floats:
    """What each company adds in this order; 0 once the rest adds less than TRUNCATION."""
    marginal_N = np.zeros(len(order))
    coalition = EMPTY
    for company in order:
        if abs(utility_C[-1] - utility_C[coalition]) < TRUNCATION:
            break
        marginal_N[company] = utility_C[coalition | 1 << company] - utility_C[coalition]
        coalition |= 1 << company
    return marginal_N


def _settled(marginals: Sequence[Floats]) -> bool:
    if len(marginals) <= FEWEST_PERMUTATIONS:
        return False
    running = np.cumsum(marginals, axis=0) / np.arange(1, len(marginals) + 1)[:, None]
    change = np.abs(running[-LAST:] - running[-1]) / (np.abs(running[-1]) + 1e-12)
    return bool(change.mean(axis=1).max() <= CONVERGED)
