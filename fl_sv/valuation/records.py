"""The content of valuation.json: every company's value with its interval."""

import json
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from fl_sv.config.base import first_problem
from fl_sv.errors import InputError

WHOLE = ConfigDict(extra="forbid", allow_inf_nan=False)  # what pydantic demands of a file


@dataclass(frozen=True)
class CompanyValue:
    """What one company's data were worth to the large model, in units of its utility."""

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    name: str
    value: float
    low: float
    high: float
    share: float  # of utility_grand - utility_empty, before any payout rule
    small_value: float  # its Shapley value by the measured utilities of the small model


@dataclass(frozen=True)
class Order:
    """Two neighbours in rank, and the probability that the first really is worth more."""

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    first: str
    second: str
    probability: float


@dataclass(frozen=True)
class Valuation:
    """The content of valuation.json."""

    __pydantic_config__: ClassVar[ConfigDict] = WHOLE

    level: float
    semivalue: str
    utility_empty: float
    utility_grand: float
    payable: bool
    small_model: str
    # of a value's variance, the largest over companies; 0 when all coalitions were measured
    sampling_share: float
    companies: tuple[CompanyValue, ...]
    order: tuple[Order, ...]  # from the most valuable company down

    @property
    def values(self) -> NDArray[np.float64]:
        return np.array([company.value for company in self.companies])

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The valuation in the text of valuation.json. Raises InputError when it is damaged."""
        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except ValidationError as error:
            raise InputError(
                f"valuation.json is damaged: {first_problem(error)}. `fl-sv verify` tells what"
                " changed."
            ) from None
