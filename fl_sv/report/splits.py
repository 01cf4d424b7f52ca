"""The order by amount, and simple ways to split the sum that is paid, for comparison."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fl_sv.payment.payouts import allocate
from fl_sv.valuation.records import CompanyValue


@dataclass(frozen=True)
class Splits:
    """The same sum by company, in cents: as paid, in equal parts, and by number of examples."""

    paid: dict[str, int]
    equal: dict[str, int]
    by_size: dict[str, int]


def splits(amounts: Mapping[str, int], examples: Mapping[str, int]) -> Splits:
    """The payouts beside both simple splits; each adds up to the same cent."""
    names, total = list(amounts), sum(amounts.values())

    def divided(weights: Sequence[float]) -> dict[str, int]:
        return dict(zip(names, allocate(weights, total, names=names).tolist(), strict=True))

    return Splits(
        paid=dict(amounts),
        equal=divided([1.0] * len(names)),
        by_size=divided([examples[name] for name in names]),
    )


def by_amount(companies: Iterable[CompanyValue], amounts: Mapping[str, int]) -> list[CompanyValue]:
    """The companies from the largest amount down, equal amounts by value, then by name."""
    return sorted(companies, key=lambda each: (-amounts[each.name], -each.value, each.name))
