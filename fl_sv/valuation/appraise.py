"""From the utility table to every company's value with its interval.

Shapes: N companies, M small sizes, R seeds, C coalitions of the design, V validation examples.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.game.utilities import UtilityTable
from fl_sv.law import Law
from fl_sv.valuation.records import CompanyValue, Order, Valuation
from fl_sv.valuation.uncertainty import Uncertainty
from fl_sv.values.weighting import Enumerated, Sampled, Weighting, sampled

# A sample that stops when its intervals are narrow stops early where they are too narrow by chance.
# So wide they must be for the coverage of a sample of fixed size (docs/intervals.md, 2026-11-29).
STOPPED = 1.1


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
    validation_NV: the value of each company for each validation example, by the largest small model
        and the semivalue that is paid (`paid_weighting`).

    Values are in units of utility. They are payable only once a payment is known to have no
    objection, which is not known here.
    """
    small = table.largest_small
    utility_C = -law.predict()
    value_N = paid_values(config, law, shapley)
    small_N = shapley.values(-table.mean_loss(small))
    uncertainty = uncertainty_of_values(config, table, law, shapley, validation_NV)
    half_N = uncertainty.half_widths(config.values.level)
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
    variance_N = np.maximum(uncertainty.variances(), np.finfo(float).tiny)
    sampling_share = float((np.diag(uncertainty.sampling_NN) / variance_N).max())
    return Valuation(
        level=config.values.level,
        semivalue=config.values.semivalue,
        utility_empty=empty,
        utility_grand=total,
        payable=False,
        small_model=small,
        sampling_share=sampling_share,
        companies=companies,
        order=order_of(config.companies, value_N, uncertainty),
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


def paid_weighting(config: Config, shapley: Weighting) -> Weighting:
    """How the values that are paid follow from utilities.

    shapley: how Shapley values do (`shapley_weighting`).
    """
    name = config.values.semivalue
    return shapley if name == "shapley" else Enumerated(config.n_companies, name)


def paid_values(config: Config, law: Law, shapley: Weighting) -> NDArray[np.float64]:
    """(N,) values of the large model's game, as they are paid.

    law, shapley: as in `appraise`.
    """
    return paid_weighting(config, shapley).values(-law.predict())


def uncertainty_of_values(
    config: Config,
    table: UtilityTable,
    law: Law,
    shapley: Weighting,
    validation_NV: NDArray[np.float64],
) -> Uncertainty:
    """How uncertain the values are: by the draw of the coalitions, the law, the validation set.

    The arguments are those of `appraise`. The width of the sampling part was calibrated with the
    normal distribution (`fl_sv.values.corrected`), and the law states a normal one.
    """
    utility_C, weighting = -law.predict(), paid_weighting(config, shapley)
    small_C = -table.mean_loss(table.largest_small)
    sampling_NN = weighting.sampling_covariance(utility_C)
    stop = config.coalitions.stop
    if stop is not None and stop.widest_interval_cents is not None:
        sampling_NN = STOPPED**2 * sampling_NN
    return Uncertainty(
        sampling_NN=sampling_NN,
        law_NN=_law_covariance(law, weighting, config.values.level),
        example_NV=of_large_model(validation_NV, _gain(small_C), _gain(utility_C)),
    )


def _gain(utility_C: NDArray[np.float64]) -> float:
    """Of all companies together. The first coalition is the empty one, the last the grand one."""
    return float(utility_C[-1] - utility_C[0])


def ranking(companies: Sequence[str], value_N: NDArray[np.float64]) -> list[int]:
    """The places of the companies, from the most valuable one down, equal values by name."""
    return sorted(range(len(companies)), key=lambda i: (-value_N[i], companies[i]))


def order_of(
    companies: Sequence[str], value_N: NDArray[np.float64], uncertainty: Uncertainty
) -> tuple[Order, ...]:
    """Neighbours in rank, each two with the probability of their order."""
    ranked = ranking(companies, value_N)
    return tuple(
        Order(
            companies[i],
            companies[j],
            uncertainty.probability(i, j, float(value_N[i] - value_N[j])),
        )
        for i, j in pairwise(ranked)
    )


def _law_covariance(law: Law, weighting: Weighting, level: float) -> NDArray[np.float64]:
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
    std_C = (high_C - low_C) / (2 * NormalDist().inv_cdf((1 + level) / 2))
    return np.diag(np.square(np.abs(weighting.weights(range(len(std_C)))).T @ std_C))


def of_large_model(
    validation_NV: NDArray[np.float64], small_gain: float, gain: float
) -> NDArray[np.float64]:
    """(N, V) values of single examples, as far apart as those of the large model are taken to be.

    Those of the large model are taken to vary as much more as it gains more. (The sums of values
    would not do as a measure: for semivalues other than Shapley's they may be near zero.)

    validation_NV: by the small model.
    small_gain, gain: of all companies together, by the small and by the large model.
    """
    return validation_NV * (gain / small_gain if small_gain != 0 else 1.0)
