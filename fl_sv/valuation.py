"""From the utility table to every company's value with an honest interval.

Shapes: N companies, M small sizes, R seeds, C coalitions of the design, V validation examples.
"""

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.config import Config
from fl_sv.errors import InputError
from fl_sv.law import Law, fit_law
from fl_sv.law.families import FamilyOf
from fl_sv.plugins import resolve
from fl_sv.students import with_student_alarm
from fl_sv.utilities import UtilityTable
from fl_sv.values.weighting import Enumerated, Sampled, Weighting, sampled


@dataclass(frozen=True)
class CompanyValue:
    """What one company's data were worth to the large model, in units of its utility."""

    name: str
    value: float
    low: float
    high: float
    share: float  # of utility_grand - utility_empty, before any payout rule
    small_value: float  # its Shapley value by the measured utilities of the small model


@dataclass(frozen=True)
class Order:
    """Two neighbours in rank, and the probability that the first really is worth more."""

    first: str
    second: str
    probability: float


@dataclass(frozen=True)
class Valuation:
    """The content of valuation.json."""

    level: float
    semivalue: str
    utility_empty: float
    utility_grand: float
    payable: bool
    small_model: str
    sampling_share: float  # of a value's variance, the largest over companies; 0 when all coalitions were measured
    companies: tuple[CompanyValue, ...]
    order: tuple[Order, ...] = ()  # from the most valuable company down

    @property
    def values(self) -> NDArray[np.float64]:
        return np.array([company.value for company in self.companies])

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises InputError when the text is no valuation."""
        try:
            fields = json.loads(text)
            companies = tuple(CompanyValue(**company) for company in fields.pop("companies"))
            order = tuple(Order(**pair) for pair in fields.pop("order"))
            return cls(**fields, companies=companies, order=order)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"valuation.json is damaged: {error}. `fl-sv verify` tells what changed.") from None


def fit_to_table(config: Config, table: UtilityTable, sizes: Mapping[str, int], examples: Mapping[str, int]) -> Law:
    """The law from the small models' losses to the large one's; its alarms name companies instead of numbers.

    sizes: parameters of every model; examples: rows of every company. Raises InputError when a training is missing.
    """
    *small, large = table.models
    losses_RCM = np.stack([table.loss_by_seed(model) for model in small], axis=2)
    losses_CM = losses_RCM.mean(axis=0)
    coalitions = table.coalitions(small[-1])
    law = fit_law(
        losses_CM if len(coalitions) == 1 << config.n_companies else dict(zip(coalitions, losses_CM, strict=True)),
        table.mean_losses(large),
        sizes=[sizes[model] for model in table.models],
        examples=[examples[company] for company in config.companies],
        by_seed=losses_RCM if len(losses_RCM) > 1 else None,
        family=law_family(config),
        level=config.values.level,
    )
    alarms = tuple(_with_names(alarm, config.companies) for alarm in law.alarms)
    return replace(law, findings=with_student_alarm(config, replace(law.findings, alarms=alarms)))


def law_family(config: Config) -> str | FamilyOf:
    """`family` of fit_law as the config asks for it. Raises InputError when a user's function cannot be imported."""
    name = config.law.family
    if ":" not in name:
        return name
    family: FamilyOf = resolve(name, "law.family")
    return family


def try_law(config: Config) -> None:
    """Fits a user's law to an invented game, for afterwards it is too late: the trainings are done.

    Raises InputError when it cannot be imported or is none.
    """
    family = law_family(config)
    if isinstance(family, str):
        return
    # Wild on purpose: sizes that rank coalitions differently, some worse than nobody, some better than all.
    loss_CM = np.random.default_rng(0).uniform(0.2, 2.5, (1 << 4, len(config.models.small) + 1))
    loss_CM[[0, -1]] = [[2.0], [0.5]]
    large = {c: float(loss_CM[c, -1]) for c in (0, 1, 2, 4, 8, 15)}
    fit_law(loss_CM[:, :-1], large, sizes=2.0 ** np.arange(loss_CM.shape[1]), family=family)


def appraise(config: Config, table: UtilityTable, law: Law, validation_NV: NDArray[np.float64]) -> Valuation:
    """Values of the large model's game with their intervals.

    validation_NV: the largest small model's Shapley value of each company for each validation example.
    """
    *_, small, _large = table.models
    utility_C = -law.predict()
    name = config.values.semivalue
    weighting = weighting_of(config, table, name)
    value_N = weighting.values(utility_C)
    small_weighting = weighting if name == "shapley" else weighting_of(config, table, "shapley")
    small_N = small_weighting.values(-_losses(table, small))
    quantile = NormalDist().inv_cdf((1 + config.values.level) / 2)
    sampling_N = weighting.sampling_variance(utility_C)
    covariance_NN = np.diag(sampling_N) + _law_covariance(law, weighting, quantile)
    covariance_NN += _validation_covariance(validation_NV, small_N, value_N)
    variance_N = np.diag(covariance_NN)
    half_N = quantile * np.sqrt(variance_N)
    empty, total = float(utility_C[0]), float(utility_C[-1])  # the design's first and last coalition
    companies = tuple(
        CompanyValue(
            name=company,
            value=float(value),
            low=float(value - half),
            high=float(value + half),
            share=float(value / (total - empty)) if total != empty else 0.0,
            small_value=float(small_value),
        )
        for company, value, half, small_value in zip(config.companies, value_N, half_N, small_N, strict=True)
    )
    share = float((sampling_N / np.maximum(variance_N, np.finfo(float).tiny)).max())
    order = _order(config.companies, value_N, covariance_NN)
    return Valuation(config.values.level, name, empty, total, law.holds, small, share, companies, order)


def weighting_of(config: Config, table: UtilityTable, semivalue: str) -> Weighting:
    """How values follow from utilities: all coalitions by the semivalue's own weights, a sample (for which only the
    Shapley value is estimated) by those that the largest small model's game chooses."""
    if config.coalitions.design == "all":
        return Enumerated(config.n_companies, semivalue)
    *_, small, _large = table.models
    return sampled(table.coalitions(small), -_losses(table, small), config.companies, config.seed)


def save_validation(validation_NV: NDArray[np.float64], companies: tuple[str, ...], model: str) -> bytes:
    """The bytes of validation.npz."""
    buffer = io.BytesIO()
    np.savez(buffer, values=validation_NV, companies=np.array(companies), model=np.array(model))
    return buffer.getvalue()


def load_validation(data: bytes) -> NDArray[np.float64]:
    """(N, V) from validation.npz. Raises InputError when it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            values: NDArray[np.float64] = arrays["values"]
    except Exception as error:  # zip and numpy raise a dozen kinds for a damaged file
        raise InputError(f"validation.npz is damaged: {error}.") from None
    return values


def _with_names(alarm: str, companies: Sequence[str]) -> str:
    """`coalition 5 = {0, 2}` as `coalition {Ash, Chestnut}`."""
    return re.sub(
        r"coalition \d+ = \{([\d, ]*)\}",
        lambda found: f"coalition {{{', '.join(companies[int(i)] for i in found[1].split(', ') if i)}}}",
        alarm,
    )


def _losses(table: UtilityTable, model: str) -> NDArray[np.float64]:
    return np.array(list(table.mean_losses(model).values()))


def _order(
    companies: Sequence[str], value_N: NDArray[np.float64], covariance_NN: NDArray[np.float64]
) -> tuple[Order, ...]:
    """Neighbours in rank, equal values by name, as if the errors were normal."""
    ranked = sorted(range(len(companies)), key=lambda i: (-value_N[i], companies[i]))
    pairs = []
    for i, j in pairwise(ranked):
        variance = covariance_NN[i, i] + covariance_NN[j, j] - 2 * covariance_NN[i, j]
        difference, std = float(value_N[i] - value_N[j]), math.sqrt(max(float(variance), 0.0))
        probability = NormalDist().cdf(difference / std) if std else (1.0 if difference else 0.5)
        pairs.append(Order(companies[i], companies[j], probability))
    return tuple(pairs)


def _law_covariance(law: Law, weighting: Weighting, quantile: float) -> NDArray[np.float64]:
    """(N, N) covariance of the values by the law and by training seeds.

    The law knows the covariance of Shapley values. For any other semivalue the errors of the coalitions are taken to
    be perfectly correlated, in the worst direction for each value: no interval of a value can be wider. Those of two
    companies are then taken to be independent.
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

    Measured on the small model's Shapley values and carried to the values paid for by the ratio of the sums.
    """
    small_total, total = small_N.sum(), value_N.sum()
    scale = total / small_total if small_total != 0 else 1.0
    covariance_NN: NDArray[np.float64] = np.cov(validation_NV, ddof=1) / validation_NV.shape[1] * scale**2
    return covariance_NN
