"""`fit_law`: the large model's loss for every coalition, from small models and a few large runs.

    small tables -> progress -> law of progress -> condition on the large runs -> losses, values,
    intervals, alarms

Shapes: N companies, C coalitions, M small sizes, A large runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from fl_sv.errors import InputError
from fl_sv.law.alarms import Alarm
from fl_sv.law.diagnostics import Findings, examine
from fl_sv.law.families import FamilyOf, Game, game_of
from fl_sv.law.inputs import LawData, Table, law_data
from fl_sv.law.next_runs import NextRun, best_runs
from fl_sv.law.posterior import Posterior, Prior, condition, normalized_value_covariance
from fl_sv.law.selection import AUTO, selected
from fl_sv.values.estimate import Estimate
from fl_sv.values.exact import shapley


@dataclass(frozen=True, eq=False)
class Law:
    """A fitted law between small and large losses.

    name: affine, power, ladder, ladder+power (families.py) or a user's, "(fallback)" where no other
    could be fitted. increasing: strictly, in the loss of the largest small size alone. parameters:
    the law's own; of the ladders step_reliability, the share of the last step that they go on with;
    deviation_std, a singleton's standard deviation around the law in units of loss. diagnostics:
    figures by code and name ("D1 p_value"). tested, untested: codes with and without the data they
    need. alarms: sentences, each beginning with its code; holds: no alarm fired."""

    name: str
    increasing: bool
    parameters: dict[str, float]
    findings: Findings
    _data: LawData
    _game: Game
    _prior: Prior
    _posterior: Posterior

    @property
    def complete(self) -> bool:
        """Whether every coalition has a small loss; a sampled design has not."""
        return self._data.complete

    @property
    def coalitions(self) -> tuple[int, ...]:
        """Those with a small loss, ascending."""
        return self._data.coalition_C

    @property
    def anchors(self) -> dict[int, float]:
        """Measured mean loss of every large run, by coalition."""
        runs = [self._data.coalition_C[row] for row in self._data.measured_rows]
        return dict(zip(runs, self._data.measured_losses.tolist(), strict=True))

    @property
    def alarms(self) -> list[Alarm]:
        return list(self.findings.alarms)

    @property
    def holds(self) -> bool:
        return not self.findings.alarms

    @property
    def diagnostics(self) -> dict[str, float]:
        return dict(self.findings.diagnostics)

    @property
    def tested(self) -> tuple[str, ...]:
        return self.findings.tested

    @property
    def untested(self) -> tuple[str, ...]:
        return self.findings.untested

    def predict(self, coalitions: Iterable[int] | None = None) -> NDArray[np.float64]:
        """Mean loss of the large model: (2**N,), or one for each of `coalitions`.

        Equals the measured loss at every large run. Without `coalitions` a sampled design predicts
        its own coalitions, ascending. Raises InputError for a coalition out of range or without a
        small loss."""
        return self._loss(self._rows(coalitions))

    def interval(
        self, coalitions: Iterable[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(low, high) around `predict`: pointwise, at `level`, for the expected loss over training
        seeds.
        """
        rows = self._rows(coalitions)
        half = _quantile(self._data.level) * np.sqrt(self._loss_variance(rows))
        loss = self._loss(rows)
        return loss - half, loss + half

    def shapley(self) -> Estimate:
        """Shapley values of the large model, utility = minus loss; they sum to large[0] -
        large[grand].

        Raises InputError for a sampled design: there the estimator must be used on `predict`.
        """
        self._need_complete("shapley()")
        value_N = shapley(-self._loss(slice(None)))
        half_N = _quantile(self._data.level) * np.sqrt(np.diag(self.value_covariance()))
        return Estimate(
            values=value_N,
            low=value_N - half_N,
            high=value_N + half_N,
            n_evaluations=len(self._data.measured_rows),
        )

    def value_covariance(self, weight_CN: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(N, N) covariance of `shapley().values`: law parameters, deviation from the law, seed
        noise.

        weight_CN: of the values weight_CN.T @ utility_C instead, over the coalitions of a sampled
        design, ascending. Raises InputError for a sampled design without them."""
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
        """The `count` coalitions of `pool` whose large runs would narrow the values most for their
        price, in order.

        given: coalitions that will be measured anyway. weight_CN: of the values weight_CN.T @
        utility_C, over the coalitions of a sampled design, ascending, instead of Shapley values.
        Measured coalitions are passed over, and of equally good ones the first in the pool is
        taken. Raises InputError for a sampled design without weights and for a coalition without a
        small loss."""
        if weight_CN is None:
            self._need_complete("next_runs()")
        amplitude = self._posterior.amplitude(self._prior)
        return best_runs(self._prior, self._data, amplitude, pool, count, given, weight_CN)

    def _rows(self, coalitions: Iterable[int] | None) -> NDArray[np.intp] | slice:
        return slice(None) if coalitions is None else self._data.rows([int(c) for c in coalitions])

    def _loss(self, rows: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        loss_C = self._game.loss_empty - self._game.unit * self._posterior.normalized_C
        # Put in rather than computed, so that the anchors are exact to the last bit.
        loss_C[self._data.measured_rows] = self._data.measured_losses
        return loss_C[rows]

    def _loss_variance(self, rows: NDArray[np.intp] | slice) -> NDArray[np.float64]:
        return self._game.unit**2 * self._posterior.variance_C[rows]

    def _need_complete(self, what: str) -> None:
        if not self.complete:
            raise InputError(
                f"{what} needs the small losses of all 2**N coalitions; this is a sampled design of"
                f" {len(self._data.coalition_C)}. Use estimate_shapley on law.predict(coalitions),"
                " or give weight_CN."
            )


def fit_law(
    small: Table,
    large: Mapping[int, float],
    *,
    sizes: ArrayLike | None = None,
    examples: ArrayLike | None = None,
    seed_std: ArrayLike | None = None,
    by_seed: ArrayLike | None = None,
    family: str | FamilyOf = AUTO,
    level: float = 0.9,
) -> Law:
    """Fit the law between the losses of small models on all coalitions and of the large model on
    few.

    small: mean loss over seeds, (2**N,) or (2**N, M) with sizes ascending, index = bitmask; or a
    sampled design {bitmask: loss or (M,)} with at least 0 and the grand coalition. large: {bitmask:
    mean loss}, at least 0 and the grand coalition. sizes: (M+1,) parameter counts, ascending, the
    large model's last; without them the large model is taken to be one step of the ladder away.
    examples: (N,) data sizes. seed_std: standard deviation over seeds of one small run, scalar or
    (M,). by_seed: (R, C, M), what `small` is the mean of, coalitions ascending; it tells how much
    of the ladder's last step is noise, and seed_std where that is not given. family: "auto", or the
    law by name or as a function from Game to Family. level: of all intervals. Raises InputError
    naming what is wrong."""
    data = law_data(small, large, sizes, examples, seed_std, by_seed, level)
    game = game_of(data)
    normalized_runs = (game.loss_empty - data.measured_losses[1:-1]) / game.unit
    choice = selected(game, data, normalized_runs, family)
    posterior = condition(choice.prior, data, normalized_runs)
    name = choice.family.name if game.fault is None else f"{choice.family.name} (fallback)"
    parameters = dict(zip(choice.family.parameters, choice.prior.theta.tolist(), strict=True))
    if choice.family.ladder and game.step_reliability is not None:
        parameters["step_reliability"] = game.step_reliability
    parameters["deviation_std"] = choice.prior.amplitude * abs(game.unit)
    return Law(
        name=name,
        increasing=choice.family.increasing,
        parameters=parameters,
        findings=examine(game, data, choice, normalized_runs),
        _data=data,
        _game=game,
        _prior=choice.prior,
        _posterior=posterior,
    )


def _quantile(level: float) -> float:
    return float(ndtri((1 + level) / 2))
