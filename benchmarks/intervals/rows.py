"""Coverage with few validation rows, for values of every kind.

A small and a large model (10 and 20 steps) are trained on all 4096 coalitions of twelve companies
(`benchmarks.estimators.games`), and their losses are kept for every validation row. The truth is
the mean over all rows. V of them are drawn, with replacement: the value is that of the large model
on these rows, and its interval follows from the small model's values of the same rows.

Shapes: N companies, C coalitions, V validation rows.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit
from sklearn.datasets import load_breast_cancer, load_digits

from benchmarks.estimators.games import N_COMPANIES, Divided, divided, losses_by_example
from fl_sv.valuation.appraise import of_large_model
from fl_sv.valuation.uncertainty import Uncertainty
from fl_sv.values.weighting import Enumerated

SEMIVALUES = ("shapley", "banzhaf", "loo", "beta:4,1")
ROWS = (2, 3, 5, 10, 30, 100)
SMALL_STEPS, LARGE_STEPS = 10, 20
LEVEL = 0.9


def coverage_of_few_rows(games: int, draws: int) -> list[dict[str, object]]:
    """A row for each semivalue and number of validation rows: the share of values inside.

    games: of each kind. draws: of the validation rows, from each game.
    """
    inside = defaultdict(list)
    for seed in range(games):
        for rows in (cancer_rows(seed), digits_rows(seed)):
            small_CV, large_CV = (utilities_by_example(rows, s) for s in (SMALL_STEPS, LARGE_STEPS))
            shapley = Enumerated(N_COMPANIES, "shapley").weights(range(len(small_CV)))
            for name in SEMIVALUES:
                weight_CN = Enumerated(N_COMPANIES, name).weights(range(len(small_CV)))
                game = (weight_CN.T @ small_CV, weight_CN.T @ large_CV, shapley.T @ small_CV)
                gains = small_CV[-1] - small_CV[0], large_CV[-1] - large_CV[0]
                for n_rows in ROWS:
                    generator = np.random.default_rng([seed, n_rows])
                    for _ in range(draws):
                        drawn = generator.integers(small_CV.shape[1], size=n_rows)
                        for rule, held_N in held(game, gains, drawn):
                            inside[name, n_rows, rule].append(held_N.mean())
    return [
        {"semivalue": name, "rows": n_rows, "rule": rule, "coverage": float(np.mean(shares))}
        for (name, n_rows, rule), shares in inside.items()
    ]


def held(
    game: tuple[NDArray[np.float64], ...],
    gains: tuple[NDArray[np.float64], ...],
    drawn: NDArray[np.int64],
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """By which rule, and which companies' values their intervals hold (N,)."""
    small_NV, large_NV, shapley_NV = game
    error_N = np.abs(large_NV[:, drawn].mean(axis=1) - large_NV.mean(axis=1))
    small_gain, gain = (float(gain_V[drawn].mean()) for gain_V in gains)
    nothing = np.zeros((len(error_N), len(error_N)))
    scaled_NV = of_large_model(small_NV[:, drawn], small_gain, gain)
    for rule, example_NV in (("now", scaled_NV), ("now, large rows", large_NV[:, drawn])):
        yield rule, error_N <= Uncertainty(nothing, nothing, example_NV).half_widths(LEVEL)
    stderr_N = scaled_NV.std(axis=1, ddof=1) / np.sqrt(len(drawn))
    yield "Student's t", error_N <= stdtrit(len(drawn) - 1, (1 + LEVEL) / 2) * stderr_N
    normal = ndtri((1 + LEVEL) / 2)
    yield "normal", error_N <= normal * stderr_N
    # As it was: Shapley's variance, times the ratio of the sums of the values.
    ratio = large_NV[:, drawn].mean(axis=1).sum() / small_gain
    before_N = np.var(shapley_NV[:, drawn], axis=1, ddof=1) / len(drawn) * ratio**2
    yield "before", error_N <= normal * np.sqrt(before_N)


def utilities_by_example(rows: Divided, steps: int) -> NDArray[np.float64]:
    """(C, V) utilities after so many steps."""
    blocks = losses_by_example(*rows, steps)
    return -np.concatenate([loss_VC.T for loss_VC in blocks]).astype(np.float64)


def cancer_rows(seed: int) -> Divided:
    return divided(*load_breast_cancer(return_X_y=True), seed)


def digits_rows(seed: int) -> Divided:
    x, y = load_digits(return_X_y=True)
    order_B = np.random.default_rng([seed, 2]).permutation(len(y))[:600]
    x = x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    return divided(x[order_B], y[order_B], seed)
