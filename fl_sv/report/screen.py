"""The screen of a finished run: values, intervals and payouts beside two simple splits.

Shapes: N companies, V validation examples.
"""

import io
import math
import textwrap

from rich.console import Console
from rich.table import Table

from fl_sv.audit.lines import finding_sentences
from fl_sv.payment.payouts import money
from fl_sv.report.advice import advice_for
from fl_sv.report.checks import missing_sentence
from fl_sv.report.next_run import more_certain_sentences
from fl_sv.report.pot import pot_sentences
from fl_sv.report.rates import rates_remarks
from fl_sv.report.remarks import alone_remarks, data_remarks, perplexity_remarks
from fl_sv.report.splits import by_amount, splits
from fl_sv.report.underfit import learning_remarks
from fl_sv.report.verdict import (
    accept_command,
    accepted_sentence,
    decision_sentence,
    payable_sentence,
)
from fl_sv.report.wording import counted, percent
from fl_sv.runs import files
from fl_sv.runs.audit_table import read_audit
from fl_sv.runs.directory import RunDirectory
from fl_sv.runs.ledger import newest, read_ledger
from fl_sv.runs.records import LawRecord, ModelsRecord, PaymentRecord
from fl_sv.runs.tables import read_companies, read_cost, read_law, read_rates, read_valuation
from fl_sv.runs.validation import load_validation
from fl_sv.runs.verify import Verification
from fl_sv.terminal import console
from fl_sv.text import one_line
from fl_sv.valuation.records import Valuation

WIDTH = 110
# Columns that a narrow terminal does without.
SPARE = ("examples", "share", "equal split", "by size")
_STAGES = {"anchors": "large runs", "rates": "learning rates"}


def print_summary(directory: RunDirectory) -> None:
    """Prints the payout table of a finished run, and what must be known about it."""
    width = None if console().is_terminal else WIDTH
    _render(directory, console(width=width))


def summary(directory: RunDirectory) -> str:
    """The text of `print_summary`, for logs."""
    text = io.StringIO()
    _render(directory, console(file=text, width=WIDTH, color_system=None))
    return text.getvalue()


def _render(directory: RunDirectory, screen: Console) -> None:
    ledger, config = read_ledger(directory), directory.config
    valuation = read_valuation(directory)
    payment, models = newest(ledger, PaymentRecord), newest(ledger, ModelsRecord)
    law = read_law(directory)
    table = _payout_table(directory, valuation, payment)
    # Amounts are never cut off.
    if console(width=10_000).measure(table).maximum > screen.width:
        table.columns = [column for column in table.columns if str(column.header) not in SPARE]
    screen.print(table)
    _, _, rows_left_out = read_companies(directory)
    validation_NV = load_validation(directory.read_bytes(files.VALIDATION), config.n_companies)
    rates = read_rates(directory) if config.tries_rates else None
    sentences = [
        *_verdict(payment, law, str(directory.path)),
        *pot_sentences(config, payment.rules, models.deployed_utility),
        *law.remarks,
        *learning_remarks(valuation, [*law.sizes][-1], law.anchors, rates),
        *(rates_remarks(rates) if rates else ()),
        *perplexity_remarks(config, valuation),
        *alone_remarks(config.legal_names, law.anchors),
        *finding_sentences(read_audit(directory), config),
        *data_remarks(config, rows_left_out, validation_NV.shape[1]),
    ]
    if law.untested:
        needed = [missing_sentence(code, law, config.n_companies) for code in law.untested]
        sentences.append(f"Not tested: {' '.join(needed)}")
    sentences += more_certain_sentences(law, config.legal_names)
    for sentence in (*sentences, *_cost(directory)):
        screen.print(_wrapped(sentence, screen.width), soft_wrap=True)
    screen.print(f"Report: {directory.file(files.REPORT)}", soft_wrap=True)


def _wrapped(sentence: str, width: int) -> str:
    """The sentence in lines of this width, each with the indent of the first.

    Unlike rich's own wrapping it keeps a number and its unit on one line.
    """
    if sentence.startswith("  fl-sv "):  # a command to copy
        return sentence
    indent = sentence[: len(sentence) - len(sentence.lstrip())]
    return textwrap.fill(
        sentence,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _payout_table(directory: RunDirectory, valuation: Valuation, payment: PaymentRecord) -> Table:
    """One row a company, and their sum."""
    config, rules = directory.config, payment.rules
    examples, _, _ = read_companies(directory)
    split = splits({name: payment.amounts[name] for name in config.companies}, examples)

    def amount(cents: int) -> str:
        return money(cents, "", rules.decimals).strip()

    has_shares = valuation.utility_grand > valuation.utility_empty
    table = Table(title=one_line(config.title) or None, title_justify="left")
    table.add_column("company", overflow="fold")
    values = ("examples", "value", f"{percent(valuation.level, 0)} interval", "share")
    for heading in (*values, f"payout {rules.currency}", "equal split", "by size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for company in by_amount(valuation.companies, payment.amounts):
        table.add_row(
            config.legal_name(company.name),
            f"{examples[company.name]:,}",
            f"{company.value:.4f}",
            f"{company.low:.4f} .. {company.high:.4f}",
            percent(company.share) if has_shares else "",
            amount(split.paid[company.name]),
            amount(split.equal[company.name]),
            amount(split.by_size[company.name]),
        )
    total = math.fsum(company.value for company in valuation.companies)
    pot = amount(sum(split.paid.values()))
    table.add_section()
    table.add_row("sum", f"{sum(examples.values()):,}", f"{total:.4f}", "", "", pot, pot, pot)
    return table


def _verdict(payment: PaymentRecord, law: LawRecord, where: str) -> list[str]:
    """Whether the amounts may be paid, and what to do where they may not. where: the directory."""
    if payment.payable:
        return [f"Payable. {accepted_sentence(payment)} Law: {law.name}."]
    codes = dict.fromkeys(alarm.code for alarm in payment.objections)
    lines = [
        "NOT payable. The amounts are provisional. These alarms block payment (explained in the"
        " report):",
        *(line for code in codes for line in _alarm_lines(code, payment)),
        decision_sentence(payment),
    ]
    command = accept_command(payment, where)
    return [*lines, f"  {command}"] if command else lines


def _alarm_lines(code: str, payment: PaymentRecord) -> list[str]:
    """The alarms of a check, and what to do about them."""
    alarms = [alarm for alarm in payment.objections if alarm.code == code]
    actions = dict.fromkeys(advice_for(alarm).action for alarm in alarms)
    return [
        *(f"  {alarm.sentence}" for alarm in alarms),
        *(f"    What to do: {action}" for action in actions if action),
    ]


def seconds_by_stage(directory: RunDirectory) -> str:
    """Where the time of a run went."""
    return ", ".join(
        f"{_STAGES.get(name, name)} {stage.seconds:.0f} s"
        for name, stage in read_cost(directory).stages.items()
    )


def _cost(directory: RunDirectory) -> list[str]:
    """Seconds by stage, and the sweep's arithmetic beside the teacher's."""
    share = read_cost(directory).sweep_share_of_teacher_flops
    if share is None:
        return []
    times = f"{share:.2f} times the teacher's arithmetic"
    return [f"Time: {seconds_by_stage(directory)}. The sweep took {times}."]


def verification_lines(found: Verification, *, pinned: bool) -> list[str]:
    """What `fl-sv verify` found. pinned: whether the signer's public key was given."""
    tables, sections = found.tables_head, counted(len(found.signers), "section")
    lines = [
        f"Ledger's head: {found.head} (line {found.ledger_lines}).",
        f"Signer: {', '.join(dict.fromkeys(found.signers))} (the key's fingerprint).",
        payable_sentence(found.payment),
        f"{found.ledger_lines} ledger lines in {sections}: chain and signatures are whole.",
        "Every file has the hash that was signed; law, values and amounts follow from the"
        " utilities.",
        f"The tables are closed by line {tables.number}; the report quotes it as {tables.digest}.",
    ]
    lines += finding_sentences(found.evidence.audit, found.evidence.config)
    if not pinned:
        lines.append(
            "You gave no --key, so the signer is not checked: a directory that somebody signed anew"
            " as a whole passes. Compare the fingerprint with the owner's, or give --key."
        )
    return lines
