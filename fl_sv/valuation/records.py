"""The content of valuation.json: every company's value with its interval."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

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

    name: str  # its handle; in the file, and by `Valuation.named`, as a person reads it
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

    def named(self, names: Mapping[str, str]) -> Self:
        """The same with the companies' names as a person reads them. names: by handle."""
        return replace(
            self,
            companies=tuple(replace(c, name=names.get(c.name, c.name)) for c in self.companies),
            order=tuple(
                replace(
                    pair,
                    first=names.get(pair.first, pair.first),
                    second=names.get(pair.second, pair.second),
                )
                for pair in self.order
            ),
        )

    def rows(self, names: Mapping[str, str]) -> list[dict[str, Any]]:
        """A mapping for each company, with its `handle` behind its name where the two differ."""
        named = zip(self.companies, self.named(names).companies, strict=True)
        return [
            {"name": row.name, **({"handle": own.name} if own.name != row.name else {})}
            | {key: value for key, value in asdict(row).items() if key != "name"}
            for own, row in named
        ]

    def to_json(self, names: Mapping[str, str]) -> str:
        """The text of valuation.json. names: of the companies, where they differ from handles."""
        content = asdict(self.named(names)) | {"companies": self.rows(names)}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The valuation in the text of valuation.json. Raises InputError when it is damaged."""
        try:
            return TypeAdapter(cls).validate_json(_by_handle(text), strict=True)
        except (ValidationError, RecursionError) as error:
            why = first_problem(error) if isinstance(error, ValidationError) else "it is too deep"
            raise InputError(
                f"valuation.json is damaged: {why}. `fl-sv verify` tells what changed."
            ) from None


def _by_handle(text: str) -> str:
    """The text with handles for names; as it is where it has no handle, or is damaged."""
    if '"handle"' not in text:
        return text
    try:
        content = json.loads(text)
        handle_of = {row["name"]: row.pop("handle", row["name"]) for row in content["companies"]}
        for row in content["companies"]:
            row["name"] = handle_of[row["name"]]
        for pair in content["order"]:
            for place in ("first", "second"):
                pair[place] = handle_of.get(pair[place], pair[place])
        return json.dumps(content)
    except (ValueError, TypeError, KeyError, AttributeError):
        return text
