"""What companies that belong together would be paid as one.

The difference is the price of splitting a company into several identities.

Shapes: N companies.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fl_sv.errors import InputError
from fl_sv.payment.payouts import allocate
from fl_sv.report.blocks import PageTable
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.values import owen

UNION_TEXT = (
    "The config names companies that belong together: unions. The payouts follow the Shapley value,"
    " which treats every company as one that decides alone. The same rows can then be worth more or"
    " less when they are split between two names. The Owen value lets each union join as a whole"
    " and divides its part among its members. The difference is what a union gains (+) or loses (-)"
    " because its members are counted separately. This table changes no payout."
)


def union_table(run: FinishedRun, notation: Notation) -> PageTable | None:
    """Each union as it is paid and as it would be paid as one.

    None when the config names no union or there is nothing to divide.
    """
    config, rules, companies = run.evidence.config, run.payment.rules, run.evidence.config.companies
    if not config.values.unions:
        return None
    groups = _groups(config.values.unions, companies)
    value_N = owen(-run.predictions.predicted_C, list(groups.values()))
    paid_N = np.array([run.payment.amounts[company] for company in companies])
    try:
        as_one_N = allocate(
            value_N, int(paid_N.sum()), rules.negative, max_charge=rules.max_charge, names=companies
        )
    except InputError:
        return None
    separate = {company.name: company.value for company in run.valuation.companies}

    def row(name: str, members: list[int]) -> tuple[str, ...]:
        paid, as_one = int(paid_N[members].sum()), int(as_one_N[members].sum())
        return (
            name,
            notation.value(math.fsum(separate[companies[i]] for i in members)),
            notation.value(math.fsum(value_N[members])),
            notation.amount(paid),
            notation.amount(as_one),
            ("+" if paid >= as_one else "-") + notation.amount(abs(paid - as_one)),
        )

    def by_amount(members: list[int]) -> tuple[int, str]:
        return -int(paid_N[members].sum()), companies[members[0]]

    rows = []
    for name in sorted(config.values.unions, key=lambda name: by_amount(groups[name])):
        rows.append(row(f"{name}, together", groups[name]))
        rows += [row(companies[i], [i]) for i in sorted(groups[name], key=lambda i: by_amount([i]))]
    return PageTable(
        caption="Companies that belong together, counted separately and as one",
        head=(
            "Company",
            f"Value, {notation.unit}",
            "As a union",
            f"Payout, {notation.currency}",
            f"As a union, {notation.currency}",
            f"Difference, {notation.currency}",
        ),
        rows=tuple(rows),
        source="config.yaml, valuation.json, and the law fitted again to utilities.csv",
    )


def _groups(unions: Mapping[str, Sequence[str]], companies: Sequence[str]) -> dict[str, list[int]]:
    """Positions of the companies by union; a company without one is a group of its own."""
    union_of = {company: name for name, members in unions.items() for company in members}
    groups: dict[str, list[int]] = {}
    for i, company in enumerate(companies):
        groups.setdefault(union_of.get(company, company), []).append(i)
    return groups
