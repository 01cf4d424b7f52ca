"""Coverage of a sample that stops when its intervals are narrow enough.

The sample of coalitions grows as in a run (`fl_sv.design.sample`), and after each step the widest
interval is compared with a target. A sample whose intervals are too narrow by chance stops early,
so its intervals hold less often than those of samples whose size is fixed. Here nothing else is
uncertain: the games are brute-forced, and the law and the validation set are left out.

Shapes: N companies. "looks" are the steps of a sample, "runs" the samples of all games.
"""

from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate, repeat

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from benchmarks.estimators.games import FEDERATED, N_COMPANIES, OTHER, KnownGame
from fl_sv.design.sample import ENDS, FIRST, GROWTH
from fl_sv.valuation.appraise import STOPPED
from fl_sv.values.corrected import SPREAD, fit_estimator
from fl_sv.values.pairs import draw_nested, pairs_of

LEVEL = 0.9
N_LOOKS = 5
FAMILIES = ("diminishing", "noisy", "coverage", "cancer", "mixed", "vote")


def coverage_of_stopping(games: int, samples: int) -> list[dict[str, object]]:
    """A row for each family and target.

    games: of each family. samples: of each game.
    """
    with ProcessPoolExecutor(initializer=threadpool_limits, initargs=(1,)) as pool:
        found = pool.map(of_family, FAMILIES, repeat(games), repeat(samples))
        return [row for rows in found for row in rows]


def of_family(family: str, games: int, samples: int) -> list[dict[str, object]]:
    """The targets are the median widths at each look but the last."""
    rows: list[dict[str, object]] = []
    make = (FEDERATED | OTHER)[family]
    looks = [
        looked_at(game, seed, sample)
        for seed, game in enumerate(map(make, range(games)))
        for sample in range(samples)
    ]
    widest = np.array([width for width, _ in looks])  # (runs, looks)
    deviations = np.array([deviation for _, deviation in looks])  # (runs, looks, N)
    normal = ndtri((1 + LEVEL) / 2)
    inside = deviations <= normal
    fixed = inside.mean(axis=(0, 2))  # (looks,)
    for target in np.median(widest, axis=0)[:-1]:
        narrow = widest <= target
        narrow[:, -1] = True
        stops = narrow.argmax(axis=1)
        at_stop = np.arange(len(stops)), stops
        row = {
            "family": family,
            "runs": len(stops),
            "evaluations": float(np.mean(np.array(evaluations())[stops])),
            "fixed": float(fixed[stops].mean()),
            "stopped": float(inside[at_stop].mean()),
            "widened": float((deviations[at_stop] <= STOPPED * normal).mean()),
            # that would give the intervals at the stop the coverage of a fixed sample's
            "factor": float(np.quantile(deviations[at_stop], fixed[stops].mean()) / normal),
        }
        rows.append(row)
    return rows


def looked_at(
    game: KnownGame, seed: int, sample: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The widest interval at each look, as a share of the gain (looks,), and how many of its stated
    standard deviations each value is off (looks, N).
    """
    drawn = draw_nested(
        N_COMPANIES,
        [(n - ENDS) // 2 for n in evaluations()],
        SPREAD,
        np.random.default_rng([seed, sample]),
    )
    widest, deviations = [], []
    for look in range(N_LOOKS):
        pairs = pairs_of(np.concatenate(drawn[: look + 1]))
        differences = np.append(*pairs.differences(game.rule))
        estimator = fit_estimator(pairs, differences, np.random.default_rng([seed, sample, 1]))
        error_N = differences @ estimator.row_weights - game.exact
        stderr_N = np.sqrt(np.diag(estimator.covariance(differences)))
        widest.append(2 * ndtri((1 + LEVEL) / 2) * stderr_N.max() / abs(game.exact.sum()))
        deviations.append(np.abs(error_N) / np.maximum(stderr_N, np.finfo(float).tiny))
    return np.array(widest), np.array(deviations)


def evaluations() -> list[int]:
    """How many coalitions there are at each look."""
    first = FIRST * N_COMPANIES
    return list(accumulate(repeat(GROWTH, N_LOOKS - 1), lambda n, g: int(n * g), initial=first))
