"""`fit_law`: the large model's loss for every coalition, from small models and a few large runs.

    small tables -> normalised utilities -> laws, weighed by a rehearsal -> their blend
                 -> condition on the noisy large runs -> losses, values, intervals, alarms

Shapes: N companies, C coalitions, M small sizes, R seeds. "runs" are the large runs besides the
empty and the grand coalition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from fl_sv.errors import InputError
from fl_sv.law.alarms import Alarm
from fl_sv.law.blend import AUTO, blended
from fl_sv.law.diagnostics import Findings, examine
from fl_sv.law.families import FamilyOf
from fl_sv.law.inputs import LawData, Table, law_data
from fl_sv.law.left_out import left_out_on_grid
from fl_sv.law.next_runs import NextRun, best_runs
from fl_sv.law.noise import Noise, noise_of, value_noise
from fl_sv.law.normalized import FLAT, Game, game_of
from fl_sv.law.posterior import (
    Posterior,
    condition,
    normalized_value_covariance,
    runs_on_grid,
    shapley_columns,
)
from fl_sv.law.prior import Prior, linearised
from fl_sv.values.estimate import Estimate
from fl_sv.values.exact import shapley

Floats = NDArray[np.float64]

# With more companies the noise of a whole game takes too long to count.
MOST_COUNTED = 16


@dataclass(frozen=True, eq=False)
class Law:
    """A fitted law from small losses to large ones, as `fit_law` returns it.

    name: "blend", or a law's own name (families.py, or a user's); with "(fallback)" where no other
        could be fitted.
    increasing: whether the large loss increases strictly in the loss of the largest small size, and
        depends on nothing else.
    parameters: of a blend the weight of each law, as "weight of affine"; of a single law its own.
        `deviation_std` is a singleton's standard deviation around the law, in units of loss.

    >>> small = [2.30, 1.20, 1.45, 0.90]  # losses with nobody, company 0, company 1, both
    >>> law = fit_law(small, {0: 2.30, 1: 0.75, 3: 0.40})
    >>> law.name, law.holds
    ('blend', True)
    >>> law.anchors
    {0: 2.3, 1: 0.75, 3: 0.4}
    """

    name: str
    increasing: bool
    parameters: dict[str, float]
    _data: LawData
    _game: Game
    _prior: Prior
    _posterior: Posterior
    _examine: Callable[[], Findings]

    @cached_property
    def findings(self) -> Findings:
        """What the checks found; they are made at the first use, because predictions need none."""
        return self._examine()

    def with_findings(self, change: Callable[[Findings], Findings]) -> Self:
        """The same law with other findings: those that `change` makes of its own."""
        return replace(self, _examine=lambda: change(self.findings))

    @property
    def complete(self) -> bool:
        """Whether every coalition has a small loss; in a sampled design some have none."""
        return self._data.complete

    @property
    def coalitions(self) -> tuple[int, ...]:
        """The coalitions that have a small-model loss, ascending."""
        return self._data.coalition_C

    @property
    def anchors(self) -> dict[int, float]:
        """Measured mean loss of every large run, by coalition; both ends are included."""
        runs = [self._data.coalition_C[row] for row in self._data.measured_rows]
        return dict(zip(runs, self._data.measured_losses.tolist(), strict=True))

    @property
    def alarms(self) -> list[Alarm]:
        """The alarms that fired, in the order of the checks."""
        return list(self.findings.alarms)

    @property
    def holds(self) -> bool:
        """Whether no alarm fired. Checks that lack their data are in `untested`."""
        return not self.findings.alarms

    @property
    def diagnostics(self) -> dict[str, float]:
        """Figures of all checks that were made, by code and name: "D1 p_value"."""
        return dict(self.findings.diagnostics)

    @property
    def tested(self) -> tuple[str, ...]:
        """Codes of the checks that were made."""
        return self.findings.tested

    @property
    def untested(self) -> tuple[str, ...]:
        """Codes of the checks that lack their data."""
        return self.findings.untested

    def predict(self, coalitions: Iterable[int] | None = None) -> NDArray[np.float64]:
        """Mean loss of the large model on each of `coalitions`.

        coalitions: bitmasks. Without them the result is for all coalitions, (2**N,), or for those
            of a sampled design, ascending.

        At the empty and the grand coalition, and at every large run without seed noise, it equals
        the measured loss. At the other large runs it lies between the measured loss and what the
        law and all runs together say. Raises InputError for a coalition that is out of range or has
        no small loss.
        """
        return self._loss(self._rows(coalitions))

    def interval(
        self, coalitions: Iterable[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The interval (low, high) around `predict`, for the expected loss over training seeds.

        coalitions: as in `predict`. The interval is pointwise: each coalition's loss lies inside
        with the probability `level` of `fit_law`.
        """
        rows = self._rows(coalitions)
        half = _quantile(self._data.level) * np.sqrt(self._loss_variance(rows))
        loss = self._loss(rows)
        return loss - half, loss + half

    def shapley(self) -> Estimate:
        """Shapley values of the large model with intervals; the utility is minus the loss.

        They sum to large[0] - large[grand]. Raises InputError for a sampled design; there, use
        `estimate_shapley` on `predict`.
        """
        self._need_complete("shapley()")
        value_N = shapley(-self._loss(slice(None)))
        half_N = _quantile(self._data.level) * _roots(self.value_covariance())
        return Estimate(
            values=value_N,
            low=value_N - half_N,
            high=value_N + half_N,
            n_evaluations=len(self._data.measured_rows),
        )

    def value_covariance(self, weight_CN: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(N, N) covariance of `shapley().values`, in squared units of loss.

        It contains the uncertainty of the law's parameters, the deviations from the law and the
        training seeds.

        weight_CN: if given, the covariance is that of the values weight_CN.T @ utility_C, over the
            coalitions of a sampled design, ascending.

        Raises InputError for a sampled design without weights.
        """
        if weight_CN is None:
            self._need_complete("value_covariance()")
        return self._game.unit**2 * normalized_value_covariance(
            self._prior, self._posterior, self._data, weight_CN
        )

    def next_runs(
        self,
        pool: Sequence[int],
        count: int = 1,
        given: Sequence[int] = (),
        weight_CN: NDArray[np.float64] | None = None,
    ) -> list[NextRun]:
        """The `count` large runs that reduce the uncertainty of the values most for their price.

        pool: coalitions to choose from. Measured ones are skipped; of equally good ones the first
            in the pool is taken.
        given: coalitions that will be measured anyway.
        weight_CN: if given, for the values weight_CN.T @ utility_C of a sampled design instead of
            Shapley values.

        Returns the runs, best first; fewer than `count` where the pool ends.

        Raises InputError for a sampled design without weights, and for a coalition without a small
        loss.
        """
        if weight_CN is None:
            self._need_complete("next_runs()")
        scales = self._posterior.scales
        return best_runs(self._prior, self._data, scales, pool, count, given, weight_CN)

    def narrower_with_seeds(self, times: float, weight_CN: Floats | None = None) -> float:
        """By which share more seeds of the large runs would cut the values' uncertainty.

        The uncertainty is that by the law and by training seeds: the sum over companies of the
        values' standard deviations. What the further trainings will measure is not known; they are
        taken to confirm the ones there are.

        times: as many times the seeds.
        weight_CN: as in `next_runs`.

        Raises InputError for a sampled design without weights.
        """
        if weight_CN is None:
            self._need_complete("narrower_with_seeds()")
        prior = replace(self._prior, noise=self._prior.noise.of_means_over(times))
        runs = runs_on_grid(prior, self._data, self._game.normalized_runs)
        posterior = condition(prior, self._data, runs, self._posterior.scales)
        now, then = (
            _roots(normalized_value_covariance(p, q, self._data, weight_CN)).sum()
            for p, q in ((self._prior, self._posterior), (prior, posterior))
        )
        return max(0.0, float(1 - then / now)) if now > 0 else 0.0

    def _rows(self, coalitions: Iterable[int] | None) -> NDArray[np.intp] | slice:
        return slice(None) if coalitions is None else self._data.rows([int(c) for c in coalitions])

    def _loss(self, rows: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        loss_C = self._game.loss_empty - self._game.unit * self._posterior.normalized_C
        # Copied and not computed, so that measured losses are exact to the last bit: those of the
        # two ends, and of the runs without noise.
        exact = self._prior.noise.std_C[self._data.measured_rows] == 0
        exact[[0, -1]] = True
        loss_C[self._data.measured_rows[exact]] = self._data.measured_losses[exact]
        return loss_C[rows]

    def _loss_variance(self, rows: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        return self._game.unit**2 * self._posterior.variance_C[rows]

    def _need_complete(self, what: str) -> None:
        if not self.complete:
            raise InputError(
                f"{what} needs the small losses of all 2**N coalitions. This is a sampled design of"
                f" {len(self._data.coalition_C)}: use estimate_shapley on law.predict(coalitions),"
                " or give weight_CN"
            )


def fit_law(
    small: Table,
    large: Mapping[int, float],
    *,
    sizes: ArrayLike | None = None,
    examples: ArrayLike | None = None,
    seed_std: ArrayLike | None = None,
    by_seed: ArrayLike | None = None,
    averaged: Table | None = None,
    large_std: Mapping[int, float] | float | None = None,
    family: str | FamilyOf = AUTO,
    level: float = 0.9,
) -> Law:
    """Fits the law from small models' losses on all coalitions to the large model's.

    The large model is measured on a few coalitions, at least on the empty and the grand one.

    small: mean loss over seeds, (2**N,) or (2**N, M) with sizes ascending, index = bitmask. Or a
        sampled design {bitmask: loss or (M,)}, with at least 0 and the grand coalition.
    large: {bitmask: mean loss}, with at least 0 and the grand coalition.
    sizes: (M+1,) parameter counts, ascending, the large model's last. Without them the large model
        is taken to be one step of the ladder away.
    examples: (N,) data sizes, for check D4 and for the price of further large runs.
    seed_std: standard deviation over seeds of one small run, a number or (M,).
    by_seed: (R, C, M), the losses whose mean is `small`, coalitions ascending. From them follow the
        seed noise of every coalition and of the ladder's last step, and `seed_std` where that is
        not given.
    averaged: losses of the example-weighted averages of the members' own models (their outputs), at
        every size, the large model's last: (C, M+1), or {bitmask: (M+1,)}; NaN where one is
        unknown.
    large_std: standard deviation of each large loss as an estimate of its mean over seeds:
        {bitmask: std}, or one number for all. 0 says that they are exact. Without it each is one
        training, and its noise is estimated from `by_seed` or `seed_std`; without these too it is
        taken to be 0.
    family: "auto" for the blend, a law's name, or a function from Game to Family.
    level: of all intervals, between 0 and 1.

    All losses have one unit, such as nats; predictions and values have it, too. Raises InputError
    that names what is wrong.

    >>> small = [2.30, 1.20, 1.45, 0.90]  # losses with nobody, company 0, company 1, both
    >>> law = fit_law(small, {0: 2.30, 3: 0.40})
    >>> law.predict().round(3)
    array([2.3  , 0.807, 1.146, 0.4  ])
    >>> law.shapley().values.round(3)  # they sum to 2.30 - 0.40
    array([1.12, 0.78])
    """
    data = law_data(small, large, sizes, examples, seed_std, by_seed, averaged, large_std, level)
    game = game_of(data)
    noise = noise_of(data, game.unit)
    normalized_runs = game.normalized_runs
    blend = blended(game, data, family)
    prior = linearised(blend.family, blend.between, data, normalized_runs, blend.amplitude, noise)
    runs = runs_on_grid(prior, data, normalized_runs)
    posterior, by_others = condition(prior, data, runs), left_out_on_grid(runs)

    def examined() -> Findings:
        error_of_one = _error_of_one_training(data, noise, posterior)
        return examine(game, data, blend, prior, by_others, error_of_one, normalized_runs)

    return Law(
        name=blend.family.name if game.fallback_reason is None else "affine (fallback)",
        increasing=blend.family.increasing,
        parameters={
            **{f"weight of {name}": weight for name, weight in blend.weights.items()},
            **dict(zip(blend.family.parameters, prior.theta.tolist(), strict=True)),
            "deviation_std": posterior.deviation_std() * abs(game.unit),
        },
        _data=data,
        _game=game,
        _prior=prior,
        _posterior=posterior,
        _examine=examined,
    )


def _error_of_one_training(data: LawData, noise: Noise, posterior: Posterior) -> float | None:
    """Expected relative L2 error of the values if every coalition were trained once.

    None where the noise is unknown, where there is nothing to share, and for a sampled design.
    """
    if not noise.std_C.any() or not data.complete or data.n_companies > MOST_COUNTED:
        return None
    worth = float(np.linalg.norm(shapley(posterior.normalized_C)))
    if worth <= FLAT:
        return None
    return float(np.linalg.norm(value_noise(noise, shapley_columns))) / worth


def _roots(covariance_NN: Floats) -> Floats:
    """(N,) standard deviations; 0 where rounding leaves a variance below 0."""
    roots: Floats = np.sqrt(np.maximum(np.diag(covariance_NN), 0.0))
    return roots


def _quantile(level: float) -> float:
    """Standard deviations from the middle of a normal distribution to the end of its interval."""
    return float(ndtri((1 + level) / 2))
