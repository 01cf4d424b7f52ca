"""How a law, or any other rule, is judged: as a user has it.

The law is given `large_seeds` trainings of each of its large runs, and the truth is the mean of the
others. Every figure is the mean over which trainings the law was given. So nothing that a rule is
given is part of the truth by which it is judged, and the truth has an error of its own.

Shapes: N companies, C = 2**N coalitions, R trainings of the large model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.common.distance import relative_l2
from benchmarks.law.baselines import leave_one_outs, singletons
from benchmarks.law.known import KnownGame
from fl_sv.game.coalitions import EMPTY, grand
from fl_sv.law import Law, fit_law
from fl_sv.law.noise import expected_std, std_of_means
from fl_sv.values import Estimate, shapley

Floats = NDArray[np.float64]

LEVEL = 0.9
FEWEST_OTHERS = 2  # trainings in a truth whose own error is to be known
MOST_HALVINGS = 40  # that the noise floor is a mean over


def large_runs(n_companies: int) -> dict[str, list[int]]:
    """The large runs that each of our laws is given."""
    ends = [EMPTY, grand(n_companies)]
    single, last = singletons(n_companies), leave_one_outs(n_companies)
    return {
        "law_0": ends,
        "law_n": ends + single,
        "law_2n": ends + single + [run for run in last if run not in single],
    }


@dataclass(frozen=True, eq=False)
class Seen:
    """What a user has of a game.

    given: the trainings of the large model that are his. exact: whether his large losses are the
    expected ones, without noise.
    """

    game: KnownGame
    given: tuple[int, ...]
    exact: bool = False

    @property
    def large(self) -> Floats:
        """Mean losses of the large model; a rule may look at its own large runs only."""
        mean_C: Floats = self.game.large_RC[list(self.given)].mean(axis=0)
        return mean_C

    @property
    def small(self) -> Floats:
        """Mean losses of the small models."""
        mean_CM: Floats = self.game.small_RCM.mean(axis=0)
        return mean_CM

    def averaged(self, runs: Sequence[int], column: str = "outputs") -> Floats:
        """(C, M+1) losses of the averages of the members' own models; NaN where the large model was
        not trained on a member alone.

        column: how they are averaged (`KnownGame.columns`).
        """
        small_RCM, large_RC = self.game.columns()[column]
        trained = sum(run for run in runs if run.bit_count() == 1)
        large_C = large_RC[list(self.given)].mean(axis=0)
        unknown = [not trained or bool(c & ~trained) for c in range(len(large_C))]
        small_CM = small_RCM.mean(axis=0)
        return np.column_stack([small_CM, np.where(unknown, np.nan, large_C)])

    def noise(self, runs: Sequence[int]) -> dict[int, float] | float | None:
        """`large_std` of fit_law: as a run of the product knows it (fl_sv/valuation/fit.py)."""
        if self.exact:
            return 0.0
        if len(self.given) < 2:
            return None
        runs = sorted(runs)
        size_C = np.array([c.bit_count() for c in range(len(self.large))])
        gain = float(self.large[EMPTY] - self.large[-1])
        expected_C = expected_std(self.game.small_RCM[:, :, -1], size_C, gain)
        measured = self.game.large_RC[np.ix_(self.given, runs)]
        std = std_of_means(measured, size_C[runs], expected_C[runs])
        return dict(zip(runs, std.tolist(), strict=True))

    def law(self, runs: Sequence[int], column: str = "outputs") -> Law:
        """Our law, given these large runs and these averages (as in `averaged`)."""
        return fit_law(
            self.small,
            {run: float(self.large[run]) for run in sorted(runs)},
            sizes=self.game.sizes,
            examples=self.game.examples_N,
            by_seed=self.game.small_RCM,
            averaged=self.averaged(runs, column),
            large_std=self.noise(runs),
            level=LEVEL,
        )


@dataclass(frozen=True, eq=False)
class Truth:
    """The values of the large model by trainings of its own.

    value_RN: of each training.
    """

    value_RN: Floats

    @property
    def values(self) -> Floats:
        """Their mean."""
        mean_N: Floats = self.value_RN.mean(axis=0)
        return mean_N

    def error(self, value_N: Floats) -> float:
        """Relative L2 distance of values from the truth."""
        return relative_l2(value_N, self.values)

    def covered(self, found: Estimate) -> float:
        """The share of companies whose value lies in the interval, the truth's own error included.

        That error is estimated from few trainings, so the interval is Student's t (Welch and
        Satterthwaite).
        """
        trainings = len(self.value_RN)
        law_N = ((found.high - found.low) / 2 / NormalDist().inv_cdf((1 + LEVEL) / 2)) ** 2
        truth_N = self.value_RN.var(axis=0, ddof=1) / trainings
        freedom_N = (law_N + truth_N) ** 2 / np.maximum(truth_N**2 / (trainings - 1), 1e-300)
        half_N = student.ppf((1 + LEVEL) / 2, freedom_N) * np.sqrt(law_N + truth_N)
        return float(np.mean(np.abs(found.values - self.values) <= half_N))


def as_a_user_has_it(game: KnownGame, large_seeds: int) -> Iterator[tuple[Seen, Truth]]:
    """Every choice of trainings with the truth by the others; each training is given as often.

    Raises ValueError when too few trainings are left for the truth.
    """
    if not 1 <= large_seeds <= game.trainings - FEWEST_OTHERS:
        raise ValueError(
            f"large_seeds is {large_seeds}; {game.name} has {game.trainings} trainings, and the"
            f" truth needs {FEWEST_OTHERS} others, so it is from 1 to"
            f" {game.trainings - FEWEST_OTHERS}"
        )
    value_RN = values_by_training(game)
    for first in range(game.trainings):
        given = tuple(sorted((first + i) % game.trainings for i in range(large_seeds)))
        yield Seen(game, given), Truth(np.delete(value_RN, given, axis=0))


def with_shared_trainings(game: KnownGame) -> tuple[Seen, Floats]:
    """The law is given the truth's own means: how far it is off without any seed noise.

    Returns what the law sees, and the true values.
    """
    return Seen(game, tuple(range(game.trainings)), exact=True), shapley(
        -game.large_RC.mean(axis=0)
    )


def values_by_training(game: KnownGame) -> Floats:
    """(R, N) values of each training of the large model on every coalition."""
    return np.array([shapley(-loss_C) for loss_C in game.large_RC])


def noise_floor(value_RN: Floats, large_seeds: int) -> float:
    """The error that perfect values would show: that of the truth by R - large_seeds trainings.

    It is the distance between the means of two disjoint halves of the trainings, rescaled to that
    number; the mean over halvings.
    """
    trainings = len(value_RN)
    half = trainings // 2
    variance_ratio = (1 / (trainings - large_seeds)) / (1 / half + 1 / (trainings - half))
    # As many halvings as there are, or so many of them in a random order that is always the same.
    halvings = list(islice(combinations(range(trainings), half), 1000))
    order = np.random.default_rng(0).permutation(len(halvings))[:MOST_HALVINGS]
    distances = [
        np.linalg.norm(
            value_RN[list(halvings[k])].mean(axis=0)
            - np.delete(value_RN, halvings[k], axis=0).mean(axis=0)
        )
        for k in order
    ]
    size = np.linalg.norm(value_RN.mean(axis=0))
    return float(np.mean(distances) * np.sqrt(variance_ratio) / size)
