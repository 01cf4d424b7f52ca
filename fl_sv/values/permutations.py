"""Shapley values by permutation: mean marginal contributions over random orders of arrival.

This is the definition, sampled (Castro, Gomez and Tejada 2009). It assumes nothing about the game,
and needs far more coalitions than pairs do.

Shapes: N companies, C distinct coalitions.
"""

import numpy as np
from numpy.typing import NDArray

from fl_sv.game.coalitions import EMPTY, grand, members_matrix
from fl_sv.values.pairs import Evaluate

Floats = NDArray[np.float64]


def permutation(
    evaluate: Evaluate, n_companies: int, budget: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Values and standard errors, (N,) each, from independent orders."""
    return _orders(evaluate, n_companies, budget, False, generator)


def antithetic(
    evaluate: Evaluate, n_companies: int, budget: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Values and standard errors, (N,) each, from orders and their reversals.

    (Mitchell, Cooper, Frank and Holmes 2022.)
    """
    return _orders(evaluate, n_companies, budget, True, generator)


def _orders(
    evaluate: Evaluate, n_companies: int, budget: int, reverse: bool, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """From as many whole orders as `budget` distinct coalitions allow; with `reverse` in pairs."""
    position = {EMPTY: 0, grand(n_companies): 1}
    draws: list[list[tuple[list[int], list[int]]]] = []
    # At most `budget` draws: near 2**N it could take very long until a new coalition is drawn.
    for _ in range(budget):
        order = generator.permutation(n_companies).tolist()
        draw = [
            (o, _coalitions_on_the_way(o)) for o in ([order, order[::-1]] if reverse else [order])
        ]
        new = {c for _, path in draw for c in path} - position.keys()
        if len(position) + len(new) > budget:
            break
        position |= {c: len(position) + k for k, c in enumerate(sorted(new))}
        draws.append(draw)
    utility_C = evaluate(members_matrix(position, n_companies))
    if not draws:
        equal = (utility_C[1] - utility_C[0]) / n_companies
        return np.full(n_companies, equal), np.full(n_companies, np.inf)
    # (orders, N)
    marginals = np.zeros((len(draws), n_companies))
    for marginal_N, draw in zip(marginals, draws, strict=True):
        for order, path in draw:
            marginal_N[order] += np.diff(utility_C[[position[c] for c in path]]) / len(draw)
    if len(draws) == 1:
        return marginals[0], np.full(n_companies, np.inf)
    return marginals.mean(axis=0), marginals.std(axis=0, ddof=1) / np.sqrt(len(draws))


def _coalitions_on_the_way(order: list[int]) -> list[int]:
    """The coalitions from the empty to the grand one as the companies arrive in this order."""
    path = [EMPTY]
    for company in order:
        path.append(path[-1] | 1 << company)
    return path
