"""The payouts beside two simple splits, and what every column means."""

import math

from fl_sv.payment.rules import rule_of
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.page_table import PageTable
from fl_sv.report.splits import Splits
from fl_sv.report.wording import counted, percent


def payout_table(run: FinishedRun, split: Splits, notation: Notation) -> PageTable:
    """One row a company; the columns of money add up to the same cent."""
    valuation, examples = run.valuation, run.evidence.examples
    rows = tuple(
        (
            company.name,
            f"{examples[company.name]:,}",
            notation.value(company.value),
            f"{notation.value(company.low)} to {notation.value(company.high)}",
            percent(company.share),
            notation.amount(split.paid[company.name]),
            notation.amount(split.equal[company.name]),
            notation.amount(split.by_size[company.name]),
        )
        for company in valuation.companies
    )
    paid = sum(split.paid.values())
    caption = f"{notation.money(paid)} for {counted(len(rows), 'company', 'companies')}"
    if not run.payment.payable:
        caption += " (provisional: this run is NOT payable)"
    total = notation.amount(paid)
    return PageTable(
        caption=caption,
        head=(
            "Company",
            "Examples",
            f"Value, {notation.unit}",
            f"{notation.level} interval",
            "Share",
            f"Payout, {notation.currency}",
            f"Equal split, {notation.currency}",
            f"By size, {notation.currency}",
        ),
        rows=rows,
        foot=(
            "Sum",
            f"{notation.examples:,}",
            notation.value(math.fsum(company.value for company in valuation.companies)),
            "",
            percent(math.fsum(company.share for company in valuation.companies)),
            total,
            total,
            total,
        ),
        source="companies.csv, valuation.json, payouts.csv",
    )


def payout_terms(run: FinishedRun, notation: Notation) -> tuple[tuple[str, str], ...]:
    """Every column with its explanation."""
    rules = run.payment.rules
    paid = notation.money(sum(run.payment.amounts.values()))
    return (
        ("Examples", "Rows of data that the company registered before the run."),
        ("Value", f"{_value_text(run, notation)} {notation.unit_sentence}"),
        ("Interval", _interval_text(run, notation)),
        ("Share", "The value divided by the total improvement, before any rule of payment."),
        (
            "Payout",
            f"{rule_of(rules.negative).description} Amounts are whole units of the smallest coin."
            " Units that are left over after rounding down go to the largest remainders. The"
            f" payouts add up to exactly {paid}.",
        ),
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
    valuation = run.valuation
    gain = notation.value(valuation.utility_grand - valuation.utility_empty)
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
    if _is_sampled(run):
        text += " The value is estimated from a sample of the groups."
    return text


def _interval_text(run: FinishedRun, notation: Notation) -> str:
    """What an interval covers."""
    draws = "other validation examples"
    if _is_sampled(run):
        draws += ", other samples of coalitions"
    return (
        f"The range in which the value is expected to lie, at a level of {notation.level}. It"
        f" covers other training seeds, {draws} and the uncertainty of the law."
    )


def _is_sampled(run: FinishedRun) -> bool:
    return run.evidence.config.coalitions.design == "sampled"
