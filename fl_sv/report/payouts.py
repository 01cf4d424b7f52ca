"""The payouts: the list on the first screen, the table, the way from the pot, and every column.

Companies stand by amount, the largest first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from fl_sv.payment.rules import rule_of
from fl_sv.report.blocks import Cell, Chart, Folded, PageTable, Section, Terms, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.marks import Scale, bar, picture, upright, whisker
from fl_sv.report.notation import Notation
from fl_sv.report.splits import Splits
from fl_sv.report.wording import counted, enumerated, percent

Ends = Mapping[str, tuple[int, int]]  # of every payout's interval, in cents, by company

HEIGHT = 24  # pixels


@dataclass(frozen=True)
class Payout:
    """One company on the first screen."""

    name: str
    bar: Markup
    amount: str
    why: str
    examples: int


def payout_list(
    run: FinishedRun, ends: Ends, why: Mapping[str, str], notation: Notation
) -> tuple[Payout, ...]:
    """Bars of the amounts with intervals; of the values where the pot could not be divided."""
    numbers: dict[str, tuple[float, float, float]]
    if run.is_divided:
        numbers = {name: (cents, *ends[name]) for name, cents in run.payment.amounts.items()}
    else:
        numbers = {c.name: (c.value, c.low, c.high) for c in run.valuation.companies}
    scale = Scale.over(0.0, *(x for row in numbers.values() for x in row), margin=1)

    def row(name: str) -> Payout:
        number, low, high = numbers[name]
        text, *interval = (_amount(run, x, notation) for x in numbers[name])
        tip = f"{name}: {text}, {notation.level} interval {' to '.join(interval)}"
        marks = [
            bar(scale.at(0.0), scale.at(number), "bar" if number >= 0 else "bar bad", tip),
            whisker(scale.at(low), scale.at(high)),
            upright(scale.at(0.0), "axis"),
        ]
        drawn = picture(HEIGHT, marks, tip)
        return Payout(name, drawn, text, why[name], run.evidence.examples[name])

    return tuple(row(company.name) for company in run.by_amount)


def _amount(run: FinishedRun, number: float, notation: Notation) -> str:
    """What stands beside a bar: money, or a value where nothing is divided."""
    if run.is_divided:
        return notation.money(round(number))
    return f"{notation.value(number)} {notation.unit}"


def payout_table(run: FinishedRun, split: Splits, notation: Notation) -> PageTable:
    """One row a company; the columns of money add up to the same cent."""
    examples, has_shares = run.evidence.examples, run.gain > 0
    rows = tuple(
        (
            company.name,
            f"{examples[company.name]:,}",
            notation.value(company.value),
            f"{notation.value(company.low)} to {notation.value(company.high)}",
            *([percent(company.share)] if has_shares else []),
            notation.amount(split.paid[company.name]),
            notation.amount(split.equal[company.name]),
            notation.amount(split.by_size[company.name]),
        )
        for company in run.by_amount
    )
    paid = sum(split.paid.values())
    caption = f"{notation.money(paid)} for {counted(len(rows), 'company', 'companies')}"
    if not run.payment.payable:
        caption += " (provisional: this run is NOT payable)"
    total = notation.amount(paid)
    shares = percent(math.fsum(company.share for company in run.valuation.companies))
    return PageTable(
        caption=caption,
        head=(
            "Company",
            "Examples",
            f"Value, {notation.unit}",
            f"{notation.level} interval",
            *(["Share"] if has_shares else []),
            f"Payout, {notation.currency}",
            f"Equal split, {notation.currency}",
            f"By size, {notation.currency}",
        ),
        rows=rows,
        foot=(
            "Sum",
            f"{notation.examples:,}",
            notation.value(math.fsum(company.value for company in run.valuation.companies)),
            "",
            *([shares] if has_shares else []),
            total,
            total,
            total,
        ),
        source="companies.csv, valuation.json, payouts.csv",
    )


def waterfall_section(run: FinishedRun, ends: Ends, notation: Notation) -> Section:
    """From the pot to the payouts: what each company takes of what is left."""
    amounts = run.payment.amounts
    pot = sum(amounts.values())
    if not any(amounts.values()):
        text = "Nothing is paid, so there is nothing to divide."
        return Section("waterfall", "From the pot to the payouts", (Text((text,)),))
    left, steps = pot, []
    for company in run.by_amount:
        steps.append((company.name, left, left - amounts[company.name]))
        left -= amounts[company.name]
    # With charges the pot is divided to more than its sum, and the charged ones fill it up again.
    scale = Scale.over(0, pot, *(end for *_, end in steps), margin=1)
    zero = scale.at(0)

    def cell(start: int, end: int, kind: str, tip: str, text: str) -> tuple[Cell, ...]:
        marks = [bar(scale.at(start), scale.at(end), kind, tip), upright(zero, "axis")]
        return (Cell(picture(HEIGHT, marks, tip), text),)

    def step(name: str, start: int, end: int) -> tuple[str, tuple[Cell, ...]]:
        paid = start - end
        tip = f"{name}: {notation.money(paid)}, {notation.money(end)} left"
        kind = "bar" if paid >= 0 else "bar bad"
        return name, cell(start, end, kind, tip, notation.amount(paid))

    whole = cell(0, pot, "bar pot", f"The pot: {notation.money(pot)}", notation.amount(pot))
    chart = Chart(
        description=f"A waterfall from the pot of {notation.money(pot)} to nothing left.",
        columns=(f"amount, {notation.currency}",),
        rows=(("The pot", whole), *(step(*each) for each in steps)),
        table=_interval_table(run, ends, notation),
    )
    return Section(
        "waterfall", "From the pot to the payouts", (Text((_waterfall_text(run),)), chart)
    )


def payouts_in_numbers(run: FinishedRun, split: Splits, notation: Notation) -> Folded:
    """The table of the payouts, beside two simple splits, with every column explained."""
    return Folded(
        "The payouts as a table, beside an equal split and a split by size",
        (payout_table(run, split, notation), Terms(_terms(run, notation))),
    )


def _interval_table(run: FinishedRun, ends: Ends, notation: Notation) -> PageTable:
    """Every payout between the ends of its interval."""
    amounts, currency = run.payment.amounts, notation.currency
    return PageTable(
        caption="The payouts with their intervals in money",
        head=("Company", f"From, {currency}", f"Payout, {currency}", f"To, {currency}"),
        rows=tuple(
            (
                c.name,
                notation.amount(ends[c.name][0]),
                notation.amount(amounts[c.name]),
                notation.amount(ends[c.name][1]),
            )
            for c in run.by_amount
        ),
        source="payouts.csv; the ends from valuation.json by the rule of payment",
    )


def _waterfall_text(run: FinishedRun) -> str:
    text = "Each bar takes its part of what the bars above it left."
    nothing = [c.name for c in run.by_amount if c.value < 0 and run.payment.amounts[c.name] == 0]
    if nothing and run.is_divided:
        named = enumerated(nothing).removesuffix(".")
        text += f" Below zero in value, and therefore paid nothing by the rule: {named}."
    return text


def _terms(run: FinishedRun, notation: Notation) -> tuple[tuple[str, str], ...]:
    """Every column with its explanation."""
    rules = run.payment.rules
    paid = notation.money(sum(run.payment.amounts.values()))
    share = ("Share", "The value divided by the total improvement, before any rule of payment.")
    return (
        ("Examples", "Rows of data that the company registered before the run."),
        ("Value", f"{_value_text(run, notation)} {notation.unit_sentence}"),
        ("Interval", _interval_text(run, notation)),
        *([share] if run.gain > 0 else []),
        (
            "Payout",
            f"{rule_of(rules.negative).description} Amounts are whole units of the smallest coin."
            " Units that are left over after rounding down go to the largest remainders. The"
            f" payouts add up to exactly {paid}.",
        ),
        ("Interval in money", _money_interval_text(run)),
        (
            "Equal split, by size",
            "For comparison: the same sum in equal parts, and in proportion to the examples.",
        ),
        (
            "Rounding",
            "Values and shares are rounded for reading. Their last digits may not add up.",
        ),
    )


def _value_text(run: FinishedRun, notation: Notation) -> str:
    """What a value is."""
    valuation, gain = run.valuation, notation.value(run.gain)
    if valuation.semivalue == "shapley":
        text = (
            "How much the company's data lowered the large model's loss. It is the mean over all"
            " orders in which the companies could have joined one after the other (the Shapley"
            f" value). The values add up to the total improvement of {gain} {notation.unit}."
        )
    else:
        text = (
            "What the company's data added to the large model's utility. It is a weighted mean over"
            f" all groups of other companies (the semivalue {valuation.semivalue}). These values"
            f" need not add up to the total improvement of {gain} {notation.unit}."
        )
    if not run.is_complete:
        text += " The value is estimated from a sample of the groups."
    return text


def _interval_text(run: FinishedRun, notation: Notation) -> str:
    """What an interval covers."""
    draws = "other validation examples"
    if not run.is_complete:
        draws += ", other samples of coalitions"
    return (
        f"The range in which the value is expected to lie, at a level of {notation.level}. It"
        f" covers other training seeds, {draws} and the uncertainty of the law."
    )


def _money_interval_text(run: FinishedRun) -> str:
    """The meaning of the line on a bar."""
    if run.valuation.semivalue == "shapley":
        others = (
            "The sum of all values is fixed, because the untrained and the finished model are both"
            " measured. One company's value is moved to an end of its interval. The others move"
            " in the opposite direction by the same sum, uncertain values more than certain ones."
        )
    else:
        others = (
            "One company's value is moved to an end of its interval. The others' values stay where"
            " they are."
        )
    return (
        f"{others} Then the pot is divided again by the same rule. Each line moves one company"
        " only. The ends of different lines do not belong together and do not add up to the pot."
    )
