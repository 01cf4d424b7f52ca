"""The ledger that the page quotes, how to check it, and what the report does not promise."""

from datetime import UTC, datetime

from fl_sv.report.blocks import Command, Folded, PageTable, Section, Terms, Text
from fl_sv.report.finished_run import FinishedRun
from fl_sv.report.notation import Notation
from fl_sv.report.wording import percent
from fl_sv.runs import files


def trust_section(run: FinishedRun, notation: Notation) -> Section:
    """The head of the ledger, how to check the page, and its limits."""
    ledger = run.ledger
    head = (
        f"{ledger.lines} lines of the ledger lead to this page. Each holds the hash of the line"
        " before it and a signature. The last of them holds the hashes of all tables; the hash of"
        " this page follows in a line of its own. Keep the number of the ledger's head: it shows"
        " later whether anything was changed.",
    )
    deployed = files.MODEL if run.evidence.student is None else files.STUDENT_MODEL
    model = (
        f"The model that the companies trained lies beside this page as {deployed}."
        " `fl_sv.load_model(DIR)` makes a torch module of it, and `fl-sv predict DIR ROWS` lets it"
        " answer the rows of a file.",
    )
    hashes = (
        (f"The model (sha256 of {deployed})", ledger.files.get(deployed, "not kept")),
        (f"Ledger's head (sha256 of line {ledger.lines})", ledger.digest),
        ("Signer's fingerprint", ledger.sections[-1].signer),
        ("Config (sha256)", ledger.config_digest),
    )
    before = (
        "To check the run, copy the run directory to your own computer. Get the signer's public key"
        " from the signer, not from the directory. Then run",
    )
    after = (
        "The command checks every hash and signature. It computes the law, the values and the"
        " payouts again from the recorded losses. It names every file and every digit that"
        " differs.",
    )
    return Section(
        "trust",
        "The ledger, and what this report does not promise",
        (
            Text(model),
            Terms(hashes, long=True),
            Folded(
                "How to check this page",
                (
                    Text(head),
                    Text(before),
                    Command("fl-sv verify DIR --key PUB"),
                    Text(after),
                    section_table(run),
                ),
            ),
            Folded(
                "What this report does not promise", (Text(limits(run, notation), listed=True),)
            ),
        ),
    )


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
