"""The content of valuation.json: every company's value with its interval."""

import json
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_sv.errors import InputError


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
    # of a value's variance, the largest over companies; 0 when all coalitions were measured
    sampling_share: float
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
            raise InputError(
                f"valuation.json is damaged: {error}. `fl-sv verify` tells what changed."
            ) from None
