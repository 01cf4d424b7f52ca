"""The limits of the page: who signed the run, and what the report does not promise."""

from datetime import UTC, datetime

from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.page_table import PageTable
from fl_sv.report.wording import percent


def section_table(run: FinishedRun) -> PageTable:
    """The sections of the ledger, one a command."""
    return PageTable(
        caption="Sections of the ledger",
        head=("Section", "Command", "Time", "Signer's fingerprint"),
        rows=tuple(
            (str(section.number), f"fl-sv {section.command}", _time(section.time), section.signer)
            for section in run.ledger.sections
        ),
        source="ledger.jsonl",
        text_columns=True,
    )


def limits(run: FinishedRun, notation: Notation) -> tuple[str, ...]:
    """What the report does not promise."""
    missed = percent(1 - run.valuation.level, 1 if "." in notation.level else 0)
    return (
        "The report does not claim that the law is true. It lists which checks were made and which"
        " of them raised an alarm. A check that was not made might have raised one.",
        f"Each interval holds for one company only: about {missed} of such intervals miss, so among"
        " many companies some will. They cover other training seeds, other validation examples and,"
        " where a sample was drawn, other coalitions. They do not cover another partition of the"
        " data.",
        "The values hold for this large model, this way of training and this validation set. They"
        " are not market prices. They can change with the task, or when another company joins.",
        "It was not checked that a company may use its data, or that the rows it registered are"
        " true. Wrong data change a value only as far as they change the model.",
        "The hash chain and the signatures show that nothing was changed after it was signed. They"
        " do not show that what was signed is true. They also do not show that nobody else signed"
        " the whole directory anew. Compare the signer's fingerprint to rule that out.",
        "What counts are the tables and the ledger that this page quotes. The ledger holds the hash"
        " of this page.",
        "This page is not legal advice. What is owed follows from the companies' contract.",
    )


def _time(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
