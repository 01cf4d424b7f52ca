"""What companies that belong together would be paid as one: the price of splitting a company into
identities.
"""

import math

import numpy as np

from fl_sv.errors import InputError
from fl_sv.payment.payouts import allocate
from fl_sv.report.facts import Facts, Grid
from fl_sv.report.source import Tables
from fl_sv.values import owen

WORDS = (
    "The config names companies that belong together. The Shapley value, by which is paid, takes"
    " every company for one that decides alone, and the same rows split between two names can be"
    " worth more or less than under one. The Owen value lets each union enter the model as a whole"
    " and divides its part among its members. The difference is what being counted separately gains"
    " (+) or costs (-) a union. Nothing here changes a payout."
)


def union_grid(tables: Tables, facts: Facts) -> Grid | None:
    """Each union as it is paid and as one would be; None when the config names none or there is
    nothing to divide.
    """
    config, rules = tables.evidence.config, tables.decision.rules
    if not config.values.unions:
        return None
    companies = config.companies
    union_of = {
        company: name for name, members in config.values.unions.items() for company in members
    }
    groups: dict[str, list[int]] = {}
    for i, company in enumerate(companies):
        groups.setdefault(union_of.get(company, company), []).append(i)
    value_N = owen(-tables.predictions.predicted_C, list(groups.values()))
    paid_N = np.array([tables.decision.amounts[company] for company in companies])
    try:
        as_one_N = allocate(
            value_N, int(paid_N.sum()), rules.negative, max_charge=rules.max_charge, names=companies
        )
    except InputError:
        return None
    separate = {company.name: company.value for company in tables.valuation.companies}

    def row(name: str, members: list[int]) -> tuple[str, ...]:
        paid, as_one = int(paid_N[members].sum()), int(as_one_N[members].sum())
        return (
            name,
            facts.value(math.fsum(separate[companies[i]] for i in members)),
            facts.value(math.fsum(value_N[members])),
            facts.amount(paid),
            facts.amount(as_one),
            ("+" if paid >= as_one else "-") + facts.amount(abs(paid - as_one)),
        )

    rows = []
    for name in config.values.unions:
        rows.append(row(f"{name}, together", groups[name]))
        rows += [row(companies[i], [i]) for i in groups[name]]
    return Grid(
        caption="Companies that belong together, counted separately and as one",
        head=(
            "Company",
            f"Value, {facts.unit}",
            "As a union",
            f"Payout, {facts.currency}",
            f"As a union, {facts.currency}",
            f"Difference, {facts.currency}",
        ),
        rows=tuple(rows),
        source=(
            "config.yaml, valuation.json and the law's predictions, computed again from"
            " utilities.csv"
        ),
    )
