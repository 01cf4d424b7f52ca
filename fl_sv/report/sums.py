"""The sums of the page: the payouts beside other splits, what the intervals mean in money, and both
kinds of pot.
"""

import math
from collections.abc import Mapping

from fl_sv.config.valuation import FixedPot
from fl_sv.report.facts import Facts, Grid
from fl_sv.report.money import Pots, Splits, pots
from fl_sv.report.pot import payment_words
from fl_sv.report.source import Tables
from fl_sv.report.wording import counted, percent


def payout_grid(tables: Tables, split: Splits, facts: Facts) -> Grid:
    """One row a company; the columns of money add up to the same cent."""
    valuation, examples = tables.valuation, tables.evidence.examples
    rows = tuple(
        (
            company.name,
            f"{examples[company.name]:,}",
            facts.value(company.value),
            f"{facts.value(company.low)} to {facts.value(company.high)}",
            percent(company.share),
            facts.amount(split.paid[company.name]),
            facts.amount(split.equal[company.name]),
            facts.amount(split.by_size[company.name]),
        )
        for company in valuation.companies
    )
    total = facts.amount(sum(split.paid.values()))
    return Grid(
        caption=(
            f"{facts.money(sum(split.paid.values()))} for"
            f" {counted(len(rows), 'company', 'companies')}"
            + ("" if tables.decision.payable else ": provisional, this run is NOT payable")
        ),
        head=(
            "Company",
            "Examples",
            f"Value, {facts.unit}",
            f"{facts.level} interval",
            "Share",
            f"Payout, {facts.currency}",
            f"Equal split, {facts.currency}",
            f"By size, {facts.currency}",
        ),
        rows=rows,
        foot=(
            "Sum",
            f"{facts.examples:,}",
            facts.value(math.fsum(company.value for company in valuation.companies)),
            "",
            percent(math.fsum(company.share for company in valuation.companies)),
            total,
            total,
            total,
        ),
        source="companies.csv, valuation.json, payouts.csv",
    )


def payout_words(tables: Tables, facts: Facts) -> tuple[tuple[str, str], ...]:
    """What each column means: (term, explanation)."""
    valuation, rules = tables.valuation, tables.decision.rules
    gain = valuation.utility_grand - valuation.utility_empty
    if valuation.semivalue == "shapley":
        value = (
            "By how much the company's data lowered the large model's loss: the mean over all"
            " orders in which the companies could have joined, one after the other (the Shapley"
            f" value). The values add up to the whole improvement of {facts.value(gain)}"
            f" {facts.unit}."
        )
    else:
        value = (
            "A weighted mean of what the company's data added to the large model's utility, over"
            f" all groups of other companies (the semivalue {valuation.semivalue}). These values"
            f" need not add up to the whole improvement of {facts.value(gain)} {facts.unit}."
        )
    if tables.evidence.config.coalitions.design == "sampled":
        value += " It is estimated from a sample of the groups."
    rule = {
        "clip": (
            "A company of negative value is paid nothing; the others share the pot in proportion to"
            " their values."
        ),
        "charge": (
            "The pot is divided in proportion to the values, so a company of negative value is"
            " charged."
        ),
    }[rules.negative]
    paid = sum(tables.decision.amounts.values())
    return (
        ("Examples", "Rows of data that the company registered before the run."),
        ("Value", f"{value} Unit: {facts.unit}, {facts.unit_explained}."),
        (
            "Interval",
            (
                f"Where the value is expected to lie, at a level of {facts.level}, over other"
                " training seeds, other draws of validation examples (and of coalitions, where a"
                " sample was drawn), and the law's uncertainty."
            ),
        ),
        ("Share", "The value over the whole improvement, before any rule of payment."),
        (
            "Payout",
            (
                f"{rule} Amounts are whole minor units; what rounding down leaves over goes by"
                f" largest remainder. They add up to exactly {facts.money(paid)}."
            ),
        ),
        (
            "Equal split, by size",
            "For comparison: the same sum in equal parts, and in proportion to the examples.",
        ),
        (
            "Rounding",
            (
                "Values and shares are rounded for reading and may seem to miss their sum by a last"
                " digit."
            ),
        ),
    )


def interval_grid(split: Splits, ends: Mapping[str, tuple[int, int]], facts: Facts) -> Grid:
    rows = tuple(
        (name, facts.amount(low), facts.amount(split.paid[name]), facts.amount(high))
        for name, (low, high) in ends.items()
    )
    return Grid(
        caption="The intervals in money",
        head=(
            "Company",
            f"From, {facts.currency}",
            f"Payout, {facts.currency}",
            f"To, {facts.currency}",
        ),
        rows=rows,
        source="computed from valuation.json by the payout rule",
    )


def interval_words(tables: Tables) -> str:
    """What the line on a bar means."""
    if tables.valuation.semivalue == "shapley":
        others = (
            "The sum of all values is fixed by two measurements, the untrained and the finished"
            " model. So when one company's value is moved to an end of its interval, the others"
            " together move as far the other way, the uncertain ones more than the certain ones"
        )
    else:
        others = (
            "One company's value is moved to an end of its interval while the others' stay where"
            " they are"
        )
    return (
        f"{others}; then the pot is divided again by the same rule. Each line moves one company at"
        " a time: ends of different lines do not belong together, and do not add up to the pot."
    )


def pot_grid(tables: Tables, facts: Facts) -> Grid | None:
    """Both kinds of pot, for a deployed model as good as measured or less."""
    found = _pots(tables)
    if found is None:
        return None
    deployed_in = "teacher.csv" if tables.evidence.student is None else "student.csv"
    names = {1.0: "as measured", 0.0: "none: the untrained model"}
    rows = tuple(
        (
            names.get(share, f"{percent(1 - share, 0)} smaller"),
            facts.value(-utility),
            facts.amount(fixed),
            facts.amount(performance),
        )
        for share, utility, fixed, performance in found.rows
    )
    return Grid(
        caption="What each kind of pot pays",
        head=(
            "Deployed model's improvement",
            f"Its loss, {facts.unit}",
            f"Fixed pot, {facts.currency}",
            f"Performance pot, {facts.currency}",
        ),
        rows=rows,
        source=f"{deployed_in}, valuation.json, rules of payment in ledger.jsonl",
    )


def pot_words(tables: Tables, facts: Facts) -> tuple[str, ...]:
    pot, found = tables.decision.rules.pot, _pots(tables)
    deployed = tables.evidence.deployed_utility
    before = payment_words(tables.evidence.config, tables.decision.rules, deployed)
    if found is None:
        return (
            *before,
            (
                f"This payment's pot is of the kind {pot.kind}. The deployed model is not better"
                " than the untrained one, so no performance pot would match a fixed one."
            ),
        )
    rate = facts.money(round(found.performance.cents_per_utility))
    floor = found.performance.floor
    if isinstance(pot, FixedPot):
        kind = (
            f"This payment's pot is fixed: {facts.money(pot.cents)} are divided, however good the"
            " model turned out. The table sets a performance pot beside it, whose rate was chosen"
            f" to pay the same for the deployed model as measured: {rate} for each unit"
            f" ({facts.unit}) by which its loss lies below the untrained model's"
            f" {facts.value(-floor)}."
        )
    else:
        kind = (
            f"This payment's pot depends on performance: {rate} for each unit ({facts.unit}) by"
            f" which the deployed model's loss, measured as {facts.value(-deployed)}, lies below"
            f" {facts.value(-floor)}. The table sets a fixed pot of the same sum beside it."
        )
    return (
        *before,
        kind,
        (
            "The kind of pot changes what there is to divide, not how: each company's part of the"
            " pot is the same under both. A fixed pot leaves the risk of a poor model with who"
            " pays; a performance pot shares it among the companies."
        ),
    )


def _pots(tables: Tables) -> Pots | None:
    evidence = tables.evidence
    return pots(tables.decision.rules, tables.valuation.utility_empty, evidence.deployed_utility)
