"""From the utility table to every company's value with its interval.

Shapes: N companies, M small sizes, R seeds, C coalitions of the design, V validation examples.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.game.utilities import UtilityTable
from fl_sv.law import Law
from fl_sv.valuation.records import CompanyValue, Order, Valuation
from fl_sv.values.weighting import Enumerated, Sampled, Weighting, sampled


def appraise(
    config: Config,
    table: UtilityTable,
    law: Law,
    shapley: Weighting,
    validation_NV: NDArray[np.float64],
) -> Valuation:
    """Values of the large model's game with their intervals.

    law: fitted to the table.
    shapley: how Shapley values follow from the table (`shapley_weighting`).
    validation_NV: the Shapley value of each company for each validation example, by the largest
        small model.

    Values are in units of utility. The variance of a value is the sum of three independent parts:
    the draw of the coalitions, the law, and the draw of the validation set.
    """
    small = table.largest_small
    utility_C = -law.predict()
    weighting = _weighting(config, shapley)
    value_N = weighting.values(utility_C)
    small_N = shapley.values(-table.mean_loss(small))
    sampling_N = weighting.sampling_variance(utility_C)
    covariance_NN = np.diag(sampling_N) + _law_covariance(law, weighting, _quantile(config))
    covariance_NN += _validation_covariance(validation_NV, small_N, value_N)
    variance_N = np.diag(covariance_NN)
    half_N = _quantile(config) * np.sqrt(variance_N)
    # The first and the last coalition of a design are the empty and the grand one.
    empty, total = float(utility_C[0]), float(utility_C[-1])
    companies = tuple(
        CompanyValue(
            name=company,
            value=float(value),
            low=float(value - half),
            high=float(value + half),
            share=float(value / (total - empty)) if total != empty else 0.0,
            small_value=float(small_value),
        )
        for company, value, half, small_value in zip(
            config.companies, value_N, half_N, small_N, strict=True
        )
    )
    sampling_share = float((sampling_N / np.maximum(variance_N, np.finfo(float).tiny)).max())
    return Valuation(
        level=config.values.level,
        semivalue=config.values.semivalue,
        utility_empty=empty,
        utility_grand=total,
        payable=law.holds,
        small_model=small,
        sampling_share=sampling_share,
        companies=companies,
        order=order_of(config.companies, value_N, covariance_NN),
    )


def shapley_weighting(config: Config, table: UtilityTable) -> Weighting:
    """How Shapley values follow from the utilities of the table's coalitions.

    With all coalitions these are Shapley's own weights. With a sample they are the weights of an
    estimator that is fitted to the game of the largest small model. That takes seconds, so make
    them once for each table.
    """
    if config.coalitions.design == "all":
        return Enumerated(config.n_companies, "shapley")
    small = table.largest_small
    return sampled(table.coalitions(small), -table.mean_loss(small), config.companies, config.seed)


def _weighting(config: Config, shapley: Weighting) -> Weighting:
    """How the values that are paid follow from utilities."""
    name = config.values.semivalue
    return shapley if name == "shapley" else Enumerated(config.n_companies, name)


def _quantile(config: Config) -> float:
    return NormalDist().inv_cdf((1 + config.values.level) / 2)


def covariance_of_values(
    config: Config,
    table: UtilityTable,
    law: Law,
    shapley: Weighting,
    validation_NV: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N, N) covariance of the values: of coalitions drawn, law and validation set together.

    The arguments are those of `appraise`.
    """
    utility_C, weighting = -law.predict(), _weighting(config, shapley)
    value_N = weighting.values(utility_C)
    small_N = shapley.values(-table.mean_loss(table.largest_small))
    covariance_NN = np.diag(weighting.sampling_variance(utility_C))
    covariance_NN = covariance_NN + _law_covariance(law, weighting, _quantile(config))
    covariance_NN += _validation_covariance(validation_NV, small_N, value_N)
    return covariance_NN


def ranking(companies: Sequence[str], value_N: NDArray[np.float64]) -> list[int]:
    """The places of the companies, from the most valuable one down, equal values by name."""
    return sorted(range(len(companies)), key=lambda i: (-value_N[i], companies[i]))


def order_of(
    companies: Sequence[str], value_N: NDArray[np.float64], covariance_NN: NDArray[np.float64]
) -> tuple[Order, ...]:
    """Neighbours in rank. The errors of the values are taken to be normal.

    covariance_NN: of the values.
    """
    ranked = ranking(companies, value_N)
    pairs = []
    for i, j in pairwise(ranked):
        variance = covariance_NN[i, i] + covariance_NN[j, j] - 2 * covariance_NN[i, j]
        difference, std = float(value_N[i] - value_N[j]), math.sqrt(max(float(variance), 0.0))
        probability = NormalDist().cdf(difference / std) if std else (1.0 if difference else 0.5)
        pairs.append(Order(companies[i], companies[j], probability))
    return tuple(pairs)


def _law_covariance(law: Law, weighting: Weighting, quantile: float) -> NDArray[np.float64]:
    """(N, N) covariance of the values by the law and by training seeds.

    For Shapley values the law gives the covariance. For any other semivalue it is an upper bound:
    the errors of the coalitions are taken to be perfectly correlated, in the worst direction for
    each value. The errors of two companies are then taken to be independent.
    """
    match weighting:
        case Sampled(weight_CN):
            return law.value_covariance(weight_CN)
        case Enumerated(_, "shapley"):
            return law.value_covariance()
    low_C, high_C = law.interval()
    std_C = (high_C - low_C) / (2 * quantile)
    return np.diag(np.square(np.abs(weighting.weights(range(len(std_C)))).T @ std_C))


def _validation_covariance(
    validation_NV: NDArray[np.float64], small_N: NDArray[np.float64], value_N: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, N) covariance of the values by the draw of the validation set.

    It is measured on the Shapley values of the small model, and scaled to the values that are paid
    by the ratio of the two sums.
    """
    small_total, total = small_N.sum(), value_N.sum()
    scale = total / small_total if small_total != 0 else 1.0
    covariance_NN: NDArray[np.float64] = (
        np.cov(validation_NV, ddof=1) / validation_NV.shape[1] * scale**2
    )
    return covariance_NN
