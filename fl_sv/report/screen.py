"""What a finished run shows on the screen: values, intervals and payouts beside two simple ways of
splitting.
"""

import io
from typing import Any

from rich.console import Console
from rich.table import Table

from fl_sv.payment.payouts import allocate, money
from fl_sv.report.next_run import next_run_sentence
from fl_sv.report.pot import payment_words
from fl_sv.report.underfit import reach_remarks
from fl_sv.runs import files
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.ledger import newest, read_ledger
from fl_sv.runs.records import ModelsRecord, PaymentRecord
from fl_sv.runs.tables import read_companies, read_cost, read_law, read_valuation
from fl_sv.valuation.records import Valuation

WIDTH = 110
SPARE = (
    "examples",
    "share",
    "equal split",
    "by size",
)  # columns that a narrow terminal does without


def print_summary(run: RunDirectory) -> None:
    """The payout table of a finished run, on standard output."""
    width = None if Console().is_terminal else WIDTH
    _render(run, _console(width=width))


def summary(run: RunDirectory) -> str:
    """The same as plain text, for logs."""
    text = io.StringIO()
    _render(run, _console(file=text, width=WIDTH, color_system=None))
    return text.getvalue()


def _console(**options: Any) -> Console:
    """A console that prints names and sentences as they are."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def _render(run: RunDirectory, console: Console) -> None:
    config = run.config
    valuation = read_valuation(run)
    paid = newest(read_ledger(run), PaymentRecord)
    amounts, examples = paid.amounts, read_companies(run)[0]
    pot = sum(amounts.values())
    names = config.companies
    equal = dict(zip(names, allocate([1.0] * len(names), pot, names=names).tolist(), strict=True))
    by_size = dict(
        zip(names, allocate([examples[n] for n in names], pot, names=names).tolist(), strict=True)
    )

    def amount(cents: int) -> str:
        return money(cents, "", config.payouts.decimals).strip()

    table = Table(title=config.title or None, title_justify="left")
    table.add_column("company", overflow="fold")
    values = ("examples", "value", f"{valuation.level:.0%} interval", "share")
    for heading in (*values, f"payout {config.payouts.currency}", "equal split", "by size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for company in valuation.companies:
        name = company.name
        table.add_row(
            name,
            f"{examples[name]:,}",
            f"{company.value:.4f}",
            f"{company.low:.4f} .. {company.high:.4f}",
            f"{company.share:.1%}",
            amount(amounts[name]),
            amount(equal[name]),
            amount(by_size[name]),
        )
    total = valuation.utility_grand - valuation.utility_empty
    table.add_section()
    table.add_row(
        "sum",
        f"{sum(examples.values()):,}",
        f"{total:.4f}",
        "",
        "",
        amount(pot),
        amount(pot),
        amount(pot),
    )
    if _console(width=10_000).measure(table).maximum > console.width:  # amounts are never cut off
        table.columns = [column for column in table.columns if str(column.header) not in SPARE]
    console.print(table)
    _print_state(run, console, paid, valuation)


def _print_state(
    run: RunDirectory, console: Console, paid: PaymentRecord, valuation: Valuation
) -> None:
    law = read_law(run)
    if paid.payable:
        console.print(f"Payable. Law: {law.name}.")
    else:
        console.print("NOT payable; the amounts are provisional:")
        for objection in paid.objections:
            console.print(f"  {objection.sentence}")
    models = newest(read_ledger(run), ModelsRecord)
    sentences = (
        *payment_words(run.config, paid.rules, models.deployed_utility),
        *law.remarks,
        *reach_remarks(valuation, [*law.sizes][-1], law.anchors),
    )
    for sentence in sentences:
        console.print(sentence)
    if law.untested:
        console.print(f"Not tested: {', '.join(law.untested)} (see the report).")
    if law.next_run:
        console.print(next_run_sentence(law.next_run, run.config.companies))
    cost = read_cost(run)
    if (share := cost.sweep_share_of_teacher_flops) is not None:
        spent = ", ".join(f"{name} {stage.seconds:.0f} s" for name, stage in cost.stages.items())
        console.print(f"Cost: {spent}; arithmetic of the sweep / of the teacher: {share:.2f}.")
    console.print(f"Report: {run.file(files.REPORT)}", soft_wrap=True)
