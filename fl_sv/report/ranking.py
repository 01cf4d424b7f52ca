"""How certain the order of the companies is, and the sign of each value."""

from collections.abc import Sequence

from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.page_table import PageTable
from fl_sv.report.wording import enumerated, percent
from fl_sv.valuation.records import CompanyValue


def ranking_sentences(run: FinishedRun, notation: Notation) -> tuple[str, ...]:
    """Which companies the intervals do not order, and whose value may be zero or below."""
    companies, level = run.valuation.companies, notation.level
    groups = overlapping(companies)
    sentences = [
        f"{enumerated(group)}: it is not certain which of"
        f" {'the two' if len(group) == 2 else 'them'} was worth more. Their {level} intervals"
        " overlap."
        for group in groups
    ]
    sentences.append(
        "The intervals of all other pairs of companies do not overlap."
        if groups
        else f"No two {level} intervals overlap. The order of the companies is not in doubt at this"
        " level."
    )
    for company in companies:
        if company.high < 0:
            sentences.append(
                f"{company.name}: the whole interval lies below zero. By this measurement its data"
                " made the large model worse."
            )
        elif company.low <= 0:
            sentences.append(
                f"{company.name}: the interval contains zero. It is not certain that its data"
                " helped at all."
            )
    return tuple(sentences)


def ranking_table(run: FinishedRun) -> PageTable:
    """The probability that a company was really worth more than the next one in rank."""
    return PageTable(
        caption="Neighbours in rank",
        head=("Worth more", "Than", "With probability"),
        rows=tuple(
            (pair.first, pair.second, percent(pair.probability)) for pair in run.valuation.order
        ),
        source="valuation.json",
    )


def overlapping(companies: Sequence[CompanyValue]) -> list[tuple[str, ...]]:
    """The largest sets of companies whose intervals all overlap.

    Sets and the names in them go by value, highest first. Intervals that all overlap share a point:
    the highest of their lower ends.
    """
    ranked = sorted(companies, key=lambda company: -company.value)
    groups = {tuple(c.name for c in ranked if c.low <= edge.low <= c.high) for edge in ranked}
    largest = [g for g in groups if len(g) > 1 and not any(set(g) < set(other) for other in groups)]
    place = {company.name: rank for rank, company in enumerate(ranked)}
    return sorted(largest, key=lambda group: [place[name] for name in group])
