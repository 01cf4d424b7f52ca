"""How certain the order of the companies is, and the sign of each value: one rule for both.

An order of two companies, or the sign of a value, is certain where its probability is at least
(1 + level) / 2. Then the interval of the difference, or of the value, does not contain zero.
"""

from collections.abc import Sequence
from itertools import groupby

from fl_sv.report.blocks import PageTable, Section, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.wording import percent, percent_below, some
from fl_sv.valuation.records import CompanyValue, Order

MOST_NAMED = 6  # in a sentence; the table has all


def certain_probability(level: float) -> float:
    """The least probability of what is called certain, by the level of the intervals."""
    return (1 + level) / 2


def is_certain(pair: Order, level: float) -> bool:
    """Whether the first of two neighbours in rank certainly was worth more."""
    return pair.probability >= certain_probability(level)


def sign_of(company: CompanyValue) -> int:
    """1 or -1 where the value certainly is above or below zero; 0 where that is not certain."""
    return int(company.low > 0) - int(company.high < 0)


def rule_sentence(run: FinishedRun, notation: Notation) -> str:
    """The rule, in words."""
    least = percent(certain_probability(run.valuation.level))
    return (
        "One rule holds on this page. An order of two companies, or the sign of a value, is called"
        f" certain if its probability is at least {least}. Then the {notation.level} interval of"
        " the difference, or of the value, does not contain zero."
    )


def certainty_section(run: FinishedRun, notation: Notation) -> Section:
    """What is certain about the order and the signs."""
    level = run.valuation.level
    table = PageTable(
        caption="Neighbours in rank; probabilities are rounded down",
        head=("Worth more", "Than", "With probability", "Certain"),
        rows=tuple(
            (
                pair.first,
                pair.second,
                percent_below(pair.probability),
                "yes" if is_certain(pair, level) else "no",
            )
            for pair in run.valuation.order
        ),
        source="valuation.json",
        text_columns=True,
    )
    sentences = certainty_sentences(run)
    return Section(
        "order",
        "How certain the order is",
        (Text((rule_sentence(run, notation),)), Text(sentences, listed=True), table),
    )


def certainty_sentences(run: FinishedRun) -> tuple[str, ...]:
    """Which neighbours, and which signs, are not certain; and which companies certainly do harm."""
    sentences = [
        f"{some(group, MOST_NAMED)}: it is not certain which of"
        f" {'the two' if len(group) == 2 else 'two neighbours'} was worth more."
        for group in undecided(run.valuation.order, run.valuation.level)
    ]
    if not sentences:
        sentences.append("The order of the companies is certain.")
    for company in run.by_amount:
        if sign_of(company) < 0:
            sentences.append(
                f"{company.name}: its value certainly is below zero. By this measurement its data"
                " made the large model worse."
            )
        elif sign_of(company) == 0:
            sentences.append(f"{company.name}: it is not certain that its data helped at all.")
    return tuple(sentences)


def undecided(order: Sequence[Order], level: float) -> list[tuple[str, ...]]:
    """The companies, in rank, of whom each two neighbours may be in the other order."""
    runs = groupby(order, key=lambda pair: is_certain(pair, level))
    pairs = [[*run] for certain, run in runs if not certain]
    return [(run[0].first, *(pair.second for pair in run)) for run in pairs]
