"""The intervals of the values in money."""

from collections.abc import Mapping

from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.page_table import PageTable
from fl_sv.report.splits import Splits


def interval_table(
    split: Splits, ends: Mapping[str, tuple[int, int]], notation: Notation
) -> PageTable:
    """Every payout between the ends of its interval. ends: cents from, to by company."""
    currency = notation.currency
    return PageTable(
        caption="The intervals in money",
        head=("Company", f"From, {currency}", f"Payout, {currency}", f"To, {currency}"),
        rows=tuple(
            (
                name,
                notation.amount(low),
                notation.amount(split.paid[name]),
                notation.amount(high),
            )
            for name, (low, high) in ends.items()
        ),
        source="computed from valuation.json by the rule of payment",
    )


def interval_text(run: FinishedRun) -> str:
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
