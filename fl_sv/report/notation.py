"""How the numbers of a run are written: unit, decimals, currency and level."""

from dataclasses import dataclass
from typing import Self

from fl_sv.payment.payouts import money
from fl_sv.payment.settlement import Evidence
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.wording import NBSP, decimal, percent, places_for


@dataclass(frozen=True)
class Notation:
    """How this run's numbers are written."""

    unit: str  # of losses, utilities and values
    unit_sentence: str
    level: str  # of the intervals
    places: int  # decimals of values
    currency: str
    decimals: int
    examples: int
    validation_examples: int

    @classmethod
    def of(cls, run: FinishedRun) -> Self:
        evidence, valuation, rules = run.evidence, run.valuation, run.payment.rules
        unit, sentence = _unit(evidence)
        level = 100 * valuation.level
        return cls(
            unit=unit,
            unit_sentence=sentence,
            level=percent(valuation.level, 0 if level == round(level) else 1),
            places=places_for(valuation.utility_grand - valuation.utility_empty),
            currency=rules.currency,
            decimals=rules.decimals,
            examples=sum(evidence.examples.values()),
            validation_examples=evidence.validation_NV.shape[1],
        )

    def value(self, utility: float) -> str:
        """A utility, loss or value with the decimals of this run."""
        return decimal(utility, self.places)

    def part(self, number: float, total: float) -> str:
        """A part of a total: a percentage, or in the unit where the total is not above zero."""
        return f"{self.part_number(number, total)}{NBSP}%" if total > 0 else self.value(number)

    def part_number(self, number: float, total: float) -> str:
        """`part` without its unit, for columns that name it."""
        return decimal(100 * number / total, 1) if total > 0 else self.value(number)

    def part_unit(self, total: float) -> str:
        """What `part` writes, for headings."""
        return "in % of the total improvement" if total > 0 else f"in {self.unit}"

    def money(self, cents: int) -> str:
        """An amount with the currency."""
        return money(cents, self.currency, self.decimals).replace(" ", NBSP)

    def amount(self, cents: int) -> str:
        """An amount without the currency, for columns that name it."""
        return money(cents, "", self.decimals).strip()


def _unit(evidence: Evidence) -> tuple[str, str]:
    """The unit of losses, and a sentence on it."""
    if (own := evidence.config.training.loss) is not None:
        return "units of loss", f"Losses are those of the function {own}."
    if evidence.curve[-1].accuracy is not None:
        return "nats", (
            "The unit is the nat. Losses are cross-entropies: the mean of minus the natural"
            " logarithm of the probability that the model gave to the correct answer."
        )
    return (
        "squared units",
        "Losses are squared errors, in units of the target's standard deviation.",
    )
