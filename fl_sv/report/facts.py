"""What every part of the page needs: units, places and the currency of a run, and the shape of a
table.
"""

from dataclasses import dataclass
from typing import Self

from fl_sv.payment.payouts import money
from fl_sv.report.source import Tables
from fl_sv.report.wording import NBSP, decimal, percent, places_for


@dataclass(frozen=True)
class Grid:
    """A table of the page: the first column names the row, the others are numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    foot: tuple[str, ...] = ()
    source: str = ""  # the files that the numbers come from
    text_columns: bool = False  # the other columns hold words


@dataclass(frozen=True)
class Facts:
    """How this run's numbers are written."""

    unit: str  # of losses, utilities and values
    unit_explained: str
    level: str  # of the intervals
    places: int  # decimals of values
    currency: str
    decimals: int
    examples: int
    validation_examples: int

    @classmethod
    def of(cls, tables: Tables) -> Self:
        evidence, valuation, rules = tables.evidence, tables.valuation, tables.decision.rules
        classification = evidence.curve[-1].accuracy is not None
        level = 100 * valuation.level
        return cls(
            unit="nats" if classification else "squared units",
            unit_explained=(
                "the natural unit of cross-entropy: the mean of minus the logarithm of the"
                " probability that the model gave to the right answer"
                if classification
                else "the squared error in units of the target's standard deviation"
            ),
            level=percent(valuation.level, 0 if level == round(level) else 1),
            places=places_for(valuation.utility_grand - valuation.utility_empty),
            currency=rules.currency,
            decimals=rules.decimals,
            examples=sum(evidence.examples.values()),
            validation_examples=evidence.validation_NV.shape[1],
        )

    def value(self, utility: float) -> str:
        return decimal(utility, self.places)

    def money(self, cents: int) -> str:
        """With the currency."""
        return money(cents, self.currency, self.decimals).replace(" ", NBSP)

    def amount(self, cents: int) -> str:
        """Without the currency, for columns that name it."""
        return money(cents, "", self.decimals).strip()
