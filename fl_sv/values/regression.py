"""KernelSHAP and Leverage SHAP, paired: the additive game that fits the pairs' differences best.

The additive game x has v(S) - v(complement) = sum of x over S - sum of x outside. It is fitted to
all pairs, each with the weight 1 / (C(N, s) s (N-s)), under the constraint that x sums to v(grand)
- v(empty). Then it is the Shapley value (Charnes, Golany, Keane and Rousseau 1988). Fitted to a
sample it is exact on 2-additive games.

Shapes: N companies. "directions" are the N - 1 in which the values move and keep their sum.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from fl_sv.values.pairs import Evaluate, draw_pairs

Floats = NDArray[np.float64]


def kernelshap(
    evaluate: Evaluate, n_companies: int, budget: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Values and standard errors, (N,) each; sizes as the Shapley kernel weighs them.

    (Lundberg and Lee 2017; Covert and Lee 2021.)
    """
    return _paired_regression(evaluate, n_companies, budget, 1.0, generator)


def leverage(
    evaluate: Evaluate, n_companies: int, budget: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Values and standard errors, (N,) each; sizes in proportion to the leverage scores, evenly.

    (Musco and Witter 2025.)
    """
    return _paired_regression(evaluate, n_companies, budget, 0.0, generator)


def _paired_regression(
    evaluate: Evaluate,
    n_companies: int,
    budget: int,
    exponent: float,
    generator: np.random.Generator,
) -> tuple[Floats, Floats]:
    pairs = draw_pairs(n_companies, (budget - 2) // 2, exponent, generator)
    differences, total = pairs.differences(evaluate)
    signs = np.where(pairs.members, 1.0, -1.0)
    equal_N = np.full(n_companies, total / n_companies)
    directions = null_space(np.ones((1, n_companies)))
    # Kernel weight divided by the chance of being drawn; drawn / C(N, s) cancels C(N, s).
    roots = 1 / np.sqrt(pairs.drawn * pairs.sizes * (n_companies - pairs.sizes))[:, None]
    design = roots * (signs @ directions)  # (pairs, directions)
    inverse = np.linalg.pinv(design)
    targets = roots[:, 0] * (differences - signs @ equal_N)
    step = inverse @ targets
    value_N = equal_N + directions @ step
    if np.linalg.matrix_rank(design) < n_companies - 1 or len(differences) < n_companies:
        return value_N, np.full(n_companies, np.inf)
    # Errors of each pair by leaving it out (HC3). Strata that were drawn completely add none.
    leverages = np.einsum("pd,dp->p", design, inverse)
    left_out = (targets - design @ step) / np.maximum(1 - leverages, 1e-12)
    # (N, pairs)
    errors = directions @ inverse * (left_out * np.sqrt(pairs.unseen))
    return value_N, np.sqrt((errors**2).sum(axis=1))
